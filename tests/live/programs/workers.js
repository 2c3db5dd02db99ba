// SPDX-License-Identifier: GPL-2.0-or-later
// usage: workers.js PASSES
// Worker threads with messages and shared memory, timers, hashes in the thread pool, promises, files.
// workers_lines() in table.py computes the answers in another way.
const { Worker, isMainThread, parentPort } = require('worker_threads');
const crypto = require('crypto');
const fs = require('fs');

function chain(seed) {
	let digest = Buffer.from(seed);
	for (let i = 0; i < 500; i++)
		digest = crypto.createHash('sha256').update(digest).digest();
	return digest.toString('hex', 0, 4);
}

function work() {
	parentPort.on('message', ({ seed, cell, shared }) => {
		Atomics.add(new Int32Array(shared), 0, cell);
		parentPort.postMessage(chain(seed));
	});
}

function ask(worker, message) {
	return new Promise((good) => {
		worker.once('message', good);
		worker.postMessage(message);
	});
}

async function main(passes) {
	const workers = [0, 1, 2].map(() => new Worker(__filename).on('error', (e) => { throw e; }));
	let beats = 0;
	const timer = setInterval(() => beats++, 5);
	for (let n = 0; n < passes; n++) {
		const shared = new SharedArrayBuffer(4);
		const answers = [];
		for (let i = 0; i < 12; i += workers.length)
			answers.push(...await Promise.all(workers.map((w, k) =>
				ask(w, { seed: `${n}-${i + k}`, cell: i + k, shared }))));
		const key = await new Promise((good, bad) => crypto.pbkdf2(`pass ${n}`, 'salt', 500, 8,
			'sha256', (e, k) => e ? bad(e) : good(k.toString('hex'))));
		await fs.promises.appendFile('log', `${n}\n`);
		const sum = Atomics.load(new Int32Array(shared), 0);
		fs.writeSync(1, `${n} ${answers.join(' ')} ${key} ${sum}\n`);
	}
	clearInterval(timer);
	await Promise.all(workers.map((w) => w.terminate()));
	const lines = fs.readFileSync('log', 'utf8').split('\n').length - 1;
	fs.writeSync(1, `beats ${beats > 10} lines ${lines}\n`);
}

if (isMainThread)
	main(Number(process.argv[2]));
else
	work();
