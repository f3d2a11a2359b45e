// java.net.http, the JDK's own.
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

class Java {
    static void say(String open) {
        System.out.println("{\"open\": \"" + open + "\"}");
    }

    static void say(int code, String reason) {
        System.out.println("{\"closed\": " + code + ", \"reason\": \"" + reason + "\"}");
    }

    static class Echo implements WebSocket.Listener {
        final CompletableFuture<Void> ended = new CompletableFuture<>();
        final StringBuilder text = new StringBuilder();
        final ByteBuffer data = ByteBuffer.allocate(2 << 20);

        @Override
        public void onOpen(WebSocket socket) {
            say(socket.getSubprotocol());
            socket.request(1);
        }

        @Override
        public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean last) {
            text.append(part);
            if (last) {
                String message = text.toString();
                text.setLength(0);
                obey(socket, message);
            }
            socket.request(1);
            return null;
        }

        void obey(WebSocket socket, String message) {
            switch (message) {
                case "/fragments":
                    socket.sendText("one, ", false)
                        .thenCompose(done -> socket.sendText("two, ", false))
                        .thenCompose(done -> socket.sendText("three", true));
                    break;
                case "/ping":
                    socket.sendPing(ByteBuffer.allocate(0));
                    break;
                case "/close":
                    socket.sendClose(4001, "over");
                    break;
                default:
                    socket.sendText(message, true).join();
            }
        }

        @Override
        public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer part, boolean last) {
            data.put(part);
            if (last) {
                data.flip();
                socket.sendBinary(data, true).join();
                data.clear();
            }
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onPong(WebSocket socket, ByteBuffer payload) {
            socket.sendText("pong", true);
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            say(code, reason);
            ended.complete(null);
            return null;
        }

        @Override
        public void onError(WebSocket socket, Throwable error) {
            error.printStackTrace();
            say(1006, "");
            ended.complete(null);
        }
    }

    static SSLContext trusting(String path) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream file = new FileInputStream(path)) {
            CertificateFactory factory = CertificateFactory.getInstance("X.509");
            store.setCertificateEntry("ca", factory.generateCertificate(file));
        }
        TrustManagerFactory trust =
            TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newBuilder().sslContext(trusting(arguments[0])).build();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String url = lines.readLine(); url != null; url = lines.readLine()) {
            Echo echo = new Echo();
            client.newWebSocketBuilder()
                .subprotocols("other", "interop")
                .buildAsync(URI.create(url), echo)
                .join();
            echo.ended.join();
        }
    }
}
