import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

/** MongoDB's protocol in memory, for tests: prints its port, and serves until standard input ends. */
public class Mongo {
  /** It speaks 4.0, and drivers of today want 4.2 or 4.4, of which the tests use nothing. */
  private static final MongoVersion NEWER =
      new MongoVersion() {
        public java.util.List<Integer> getVersionArray() {
          return java.util.List.of(4, 4, 0);
        }

        public int getWireVersion() {
          return 9;
        }
      };

  public static void main(String[] args) throws Exception {
    MongoServer server = new MongoServer(new MemoryBackend().version(NEWER));
    System.out.println("listening " + server.bind().getPort());
    while (System.in.read() != -1) {}
    server.shutdownNow();
  }
}
