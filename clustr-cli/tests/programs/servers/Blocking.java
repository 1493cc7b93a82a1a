import java.net.ServerSocket;
import java.net.Socket;

/** Java's oldest way: a thread that waits in accept. */
public class Blocking {
    public static void main(String[] args) throws Exception {
        byte[] answer = ("HTTP/1.0 200 OK\r\n\r\n" + ProcessHandle.current().pid()).getBytes();
        try (ServerSocket server = new ServerSocket(Integer.parseInt(args[0]))) {
            while (true) {
                try (Socket client = server.accept()) {
                    client.getInputStream().read(new byte[1000]);
                    client.getOutputStream().write(answer);
                } catch (java.io.IOException gone) {
                    // Whoever hangs up has not harmed anybody else.
                }
            }
        }
    }
}
