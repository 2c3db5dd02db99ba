<?php
// SPDX-License-Identifier: GPL-2.0-or-later
// The answer to /A/B is "A B N" for the Nth request of the session A. Requests take a while, so that
// some of them are always at work.
[, $one, $two] = explode('/', $_SERVER['DOCUMENT_URI']);
session_id("client$one");
session_start();
$_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
$text = '';
for ($i = 0; $i < 300; $i++) {
	$text = hash('sha256', $text . $two);
}
if ($i % 4 == 0) {
	usleep(500);
}
echo "$one $two {$_SESSION['count']}";
