// SPDX-License-Identifier: GPL-2.0-or-later
// An HTTP server of the class library: the answer to /A/B is "A B N" for the Nth request of the
// connection.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;

public class HttpService {
	private static final Map<InetSocketAddress, Integer> counts = new ConcurrentHashMap<>();

	private static void answer(HttpExchange x) throws IOException {
		int n = counts.merge(x.getRemoteAddress(), 1, Integer::sum);
		String path = x.getRequestURI().getPath().substring(1).replace('/', ' ');
		byte[] body = (path + " " + n).getBytes(StandardCharsets.UTF_8);

		x.sendResponseHeaders(200, body.length);
		try (var out = x.getResponseBody()) {
			out.write(body);
		}
	}

	public static void main(String[] args) throws IOException {
		var address = new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0]));
		var server = HttpServer.create(address, 16);

		server.createContext("/", HttpService::answer);
		server.setExecutor(Executors.newFixedThreadPool(4));
		server.start();
	}
}
