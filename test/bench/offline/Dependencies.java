import zipkin2.dependencies.cassandra3.CassandraDependenciesJob;

/** zipkin-dependencies for one day, which its own main class would read from the command line: Dependencies DAY_MS. */
public class Dependencies {
  public static void main(String[] args) {
    CassandraDependenciesJob.builder().day(Long.parseLong(args[0])).build().run();
  }
}
