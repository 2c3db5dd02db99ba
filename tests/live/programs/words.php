<?php
// SPDX-License-Identifier: GPL-2.0-or-later
// usage: words.php PASSES
// Arrays, strings, regular expressions, generators, a child at the other end of pipes.
// php_lines() in table.py computes the answers in another way.
function chain(string $seed): string {
	for ($i = 0; $i < 2000; $i++)
		$seed = hash('sha256', $seed, true);
	return bin2hex(substr($seed, 0, 8));
}

function squares(int $n): Generator {
	for ($i = $n; $i < $n + 2000; $i++)
		yield $i => $i * $i % 89;
}

function sorted_by_child(int $n): string {
	$p = proc_open(['sort', '-n'], [['pipe', 'r'], ['pipe', 'w']], $pipes);
	$text = '';
	for ($i = 0; $i < 4000; $i++)
		$text .= ($i * 7919 + $n) % 1009 . "\n";
	fwrite($pipes[0], $text);
	fclose($pipes[0]);
	$sorted = stream_get_contents($pipes[1]);
	fclose($pipes[1]);
	return substr(hash('sha256', $sorted), 0, 16) . '/' . proc_close($p);
}

for ($n = 0; $n < (int)$argv[1]; $n++) {
	$sum = 0;
	foreach (squares($n) as $i => $square)
		$sum += $square * ($i % 3);
	$words = [];
	for ($i = 0; $i < 20000; $i++) {
		$word = dechex(($i * 48271 + $n) % 65537);
		$words[$word] = ($words[$word] ?? 0) + 1;
	}
	ksort($words, SORT_STRING);
	$matching = count(preg_grep('/^[a-f]+[0-9]/', array_map('strval', array_keys($words))));
	echo "$n $sum ", count($words), " $matching ", chain("seed $n"), ' ', sorted_by_child($n), "\n";
}
