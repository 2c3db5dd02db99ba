// SPDX-License-Identifier: GPL-2.0-or-later
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/**
 * usage: Work PASSES. A pool of threads computes chains of hashes and leaves garbage to collect, a
 * timer thread counts, exceptions are thrown and caught, children are run. work_lines() in table.py
 * computes the same in another way.
 */
public class Work {
	static final int CHAINS = 16, LINKS = 3000;

	static String chain(String seed) throws Exception {
		MessageDigest sha = MessageDigest.getInstance("SHA-256");
		byte[] digest = seed.getBytes();
		List<byte[]> garbage = new ArrayList<>();
		for (int i = 0; i < LINKS; i++) {
			digest = sha.digest(digest);
			garbage.add(new byte[256 + (digest[0] & 255)]);
			try {
				garbage.get(LINKS + i);
			} catch (IndexOutOfBoundsException e) {
				digest[0] ^= 1;
			}
		}
		return HexFormat.of().formatHex(digest, 0, 8);
	}

	/** A child, made by vfork(2) or the like. */
	static String child(int n) throws Exception {
		Process p = new ProcessBuilder("sh", "-c", "read a; echo $((a * 7)); exit " + n % 100).start();
		p.outputWriter().append(n + "\n").close();
		String line = p.inputReader().readLine();
		return line + "/" + p.waitFor();
	}

	public static void main(String[] args) throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(8);
		ScheduledExecutorService timer = Executors.newScheduledThreadPool(1);
		AtomicLong beats = new AtomicLong();
		timer.scheduleAtFixedRate(beats::incrementAndGet, 5, 5, TimeUnit.MILLISECONDS);
		int passes = Integer.parseInt(args[0]);
		for (int n = 0; n < passes; n++) {
			ConcurrentHashMap<Integer, String> found = new ConcurrentHashMap<>();
			List<Future<?>> futures = new ArrayList<>();
			for (int c = 0; c < CHAINS; c++) {
				final int id = c, pass = n;
				futures.add(pool.submit(() -> found.put(id, chain(pass + "-" + id))));
			}
			for (Future<?> f : futures)
				f.get();
			StringBuilder line = new StringBuilder().append(n);
			for (int c = 0; c < CHAINS; c++)
				line.append(' ').append(found.get(c));
			line.append(' ').append(child(n));
			System.out.println(line);
		}
		pool.shutdown();
		timer.shutdownNow();
		System.out.println("beats " + (beats.get() > 10));
	}
}
