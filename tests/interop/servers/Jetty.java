// Jetty.
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.SecureRequestCustomizer;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.SslConnectionFactory;
import org.eclipse.jetty.util.log.Log;
import org.eclipse.jetty.util.log.StdErrLog;
import org.eclipse.jetty.util.ssl.SslContextFactory;
import org.eclipse.jetty.websocket.api.RemoteEndpoint;
import org.eclipse.jetty.websocket.api.Session;
import org.eclipse.jetty.websocket.api.WebSocketFrameListener;
import org.eclipse.jetty.websocket.api.WebSocketListener;
import org.eclipse.jetty.websocket.api.extensions.Frame;
import org.eclipse.jetty.websocket.server.WebSocketHandler;
import org.eclipse.jetty.websocket.servlet.WebSocketServletFactory;

class Jetty {
    static final int LARGEST = 2 << 20;
    static final Set<Session> sessions = ConcurrentHashMap.newKeySet();

    static class Echo implements WebSocketListener, WebSocketFrameListener {
        Session session;

        @Override
        public void onWebSocketConnect(Session session) {
            this.session = session;
            sessions.add(session);
            String chosen = session.getUpgradeResponse().getAcceptedSubProtocol();
            System.out.println("{\"open\": \"" + chosen + "\"}");
        }

        @Override
        public void onWebSocketText(String message) {
            try {
                RemoteEndpoint remote = session.getRemote();
                switch (message) {
                    case "/fragments":
                        remote.sendPartialString("one, ", false);
                        remote.sendPartialString("two, ", false);
                        remote.sendPartialString("three", true);
                        break;
                    case "/ping":
                        remote.sendPing(ByteBuffer.allocate(0));
                        break;
                    case "/close":
                        session.close(4001, "over");
                        break;
                    default:
                        remote.sendString(message);
                }
            } catch (java.io.IOException error) {
                error.printStackTrace();
            }
        }

        @Override
        public void onWebSocketBinary(byte[] payload, int offset, int length) {
            session.getRemote().sendBytesByFuture(ByteBuffer.wrap(payload, offset, length));
        }

        @Override
        public void onWebSocketFrame(Frame frame) {
            if (frame.getType() == Frame.Type.PONG) session.getRemote().sendStringByFuture("pong");
        }

        @Override
        public void onWebSocketClose(int code, String reason) {
            sessions.remove(session);
            String why = reason == null ? "" : reason;
            System.out.println("{\"closed\": " + code + ", \"reason\": \"" + why + "\"}");
        }

        @Override
        public void onWebSocketError(Throwable error) {
            System.err.println(error);
        }
    }

    static String keyStore(String cert, String key) throws Exception {
        String path = Files.createTempFile("jetty", ".p12").toString();
        new ProcessBuilder("openssl", "pkcs12", "-export", "-in", cert, "-inkey", key,
            "-out", path, "-passout", "pass:secret").inheritIO().start().waitFor();
        return path;
    }

    public static void main(String[] arguments) throws Exception {
        StdErrLog log = new StdErrLog();
        log.setLevel(StdErrLog.LEVEL_WARN);
        Log.setLog(log);
        Server server = new Server();
        HttpConfiguration settings = new HttpConfiguration();
        settings.addCustomizer(new SecureRequestCustomizer());
        ServerConnector connector;
        if (arguments.length > 1) {
            SslContextFactory.Server tls = new SslContextFactory.Server();
            tls.setKeyStorePath(keyStore(arguments[1], arguments[2]));
            tls.setKeyStorePassword("secret");
            connector = new ServerConnector(server, tls);
        } else connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.parseInt(arguments[0]));
        server.addConnector(connector);
        server.setHandler(new WebSocketHandler() {
            @Override
            public void configure(WebSocketServletFactory factory) {
                factory.getPolicy().setMaxTextMessageSize(LARGEST);
                factory.getPolicy().setMaxBinaryMessageSize(LARGEST);
                factory.setCreator((request, response) -> {
                    response.setAcceptedSubProtocol("interop");
                    return new Echo();
                });
            }
        });
        server.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            for (Session session : sessions) session.close(1001, "");
            try {
                server.stop();
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        server.join();
    }
}
