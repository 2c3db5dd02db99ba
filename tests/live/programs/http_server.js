// SPDX-License-Identifier: GPL-2.0-or-later
// An HTTP server: the answer to /A/B is "A B N" for the Nth request of the connection.
"use strict";
const http = require("http");

const server = http.createServer((request, response) => {
	const [one, two] = request.url.slice(1).split("/");

	request.socket.count = (request.socket.count || 0) + 1;
	response.end(`${one} ${two} ${request.socket.count}`);
});
server.keepAliveTimeout = 1000000;
server.requestTimeout = 0;
server.listen(Number(process.argv[2]), "127.0.0.1");
