import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

/** The server that comes with Java: it binds from one thread and accepts in another, by epoll. */
public class Http {
    public static void main(String[] args) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(args[0])), 64);
        byte[] pid = String.valueOf(ProcessHandle.current().pid()).getBytes();
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, pid.length);
            exchange.getResponseBody().write(pid);
            exchange.close();
        });
        server.start();
    }
}
