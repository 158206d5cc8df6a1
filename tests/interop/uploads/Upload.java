import java.io.FileInputStream;
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Uploads a file through a proxy, with java.net.http, and prints what the server answers.
 *
 * <pre>java Upload.java PROXY CA URL FILE</pre>
 *
 * CA is a file with the authority that issues the server's certificate. Errors are printed in the
 * library's own words, with the exit code 1.
 */
class Upload {
    public static void main(String[] args) throws Exception {
        URI proxy = URI.create(args[0]);
        HttpClient client = HttpClient.newBuilder()
                .proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort())))
                .sslContext(trusting(args[1]))
                .build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[2]))
                .POST(BodyPublishers.ofFile(Path.of(args[3])))
                .build();
        var response = client.send(request, BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new Exception("status " + response.statusCode());
        }
        System.out.println(response.body());
    }

    private static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (var pem = new FileInputStream(file)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }
}
