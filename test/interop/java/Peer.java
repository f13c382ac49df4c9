import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.thrift.TException;
import org.apache.thrift.async.AsyncMethodCallback;
import org.apache.thrift.async.TAsyncClientManager;
import org.apache.thrift.protocol.TBinaryProtocol;
import org.apache.thrift.protocol.TCompactProtocol;
import org.apache.thrift.protocol.TJSONProtocol;
import org.apache.thrift.protocol.TProtocolFactory;
import org.apache.thrift.server.THsHaServer;
import org.apache.thrift.server.TServer;
import org.apache.thrift.server.TThreadPoolServer;
import org.apache.thrift.server.TThreadedSelectorServer;
import org.apache.thrift.transport.TNonblockingServerSocket;
import org.apache.thrift.transport.TNonblockingSocket;
import org.apache.thrift.transport.TServerSocket;
import org.apache.thrift.transport.TSocket;
import org.apache.thrift.transport.TTransport;
import org.apache.thrift.transport.TTransportException;
import org.apache.thrift.transport.layered.TFramedTransport;

/**
 * A Java program that knows nothing of Milo: Calculator on Apache Thrift's own servers, each kind with each protocol, and a
 * client of it on demand.
 *
 * <p>Prints a line {@code listening <server> <protocol> <port>} for each server, and {@code ready}. Then it obeys standard
 * input until that ends: on {@code call <client> <protocol> <port>} it makes the calls of {@link #everyCall}, and prints
 * {@code called <the results, separated by |>}. A oneway call that has come is printed as {@code fired <what>}.
 */
public class Peer {
  static final Map<String, TProtocolFactory> PROTOCOLS =
      Map.of(
          "binary", new TBinaryProtocol.Factory(),
          "compact", new TCompactProtocol.Factory(),
          "json", new TJSONProtocol.Factory());

  static final int TIMEOUT_MS = 10_000;

  /** Straight to the descriptor: whatever an agent does to System.out, a line is written at once. */
  static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);

  public static void main(String[] args) throws Exception {
    for (String protocol : PROTOCOLS.keySet()) {
      for (String kind : List.of("TThreadPoolServer", "THsHaServer", "TThreadedSelectorServer")) serve(kind, protocol);
    }
    OUT.println("ready");
    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = commands.readLine()) != null; ) {
      String[] words = line.split(" ");
      OUT.println("called " + call(words[1], words[2], Integer.parseInt(words[3])));
    }
    System.exit(0);
  }

  static void serve(String kind, String protocol) throws Exception {
    InetSocketAddress anyPort = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
    Calculator.Processor<Handler> processor = new Calculator.Processor<>(new Handler());
    TProtocolFactory protocols = PROTOCOLS.get(protocol);
    TServer server;
    int port;
    if (kind.equals("TThreadPoolServer")) {
      TServerSocket socket = new TServerSocket(anyPort);
      port = socket.getServerSocket().getLocalPort();
      // Its transport is TTransportFactory's, the bare socket: what Node calls buffered.
      server =
          new TThreadPoolServer(
              new TThreadPoolServer.Args(socket).processor(processor).protocolFactory(protocols).minWorkerThreads(1));
    } else {
      TNonblockingServerSocket socket = new TNonblockingServerSocket(anyPort);
      port = socket.getPort();
      server =
          kind.equals("THsHaServer")
              ? new THsHaServer(new THsHaServer.Args(socket).processor(processor).protocolFactory(protocols))
              : new TThreadedSelectorServer(
                  new TThreadedSelectorServer.Args(socket).processor(processor).protocolFactory(protocols));
    }
    Thread thread = new Thread(server::serve, kind + " " + protocol);
    thread.setDaemon(true);
    thread.start();
    OUT.println("listening " + kind + " " + protocol + " " + port);
  }

  static class Handler implements Calculator.Iface {
    /** {@code forward <client> <protocol> <port> <name>} asks the server there, and answers what it said. */
    public String ping(String name) throws TException {
      if (!name.startsWith("forward ")) return "hello " + name;
      String[] words = name.split(" ");
      try (Callee callee = callee(words[1], words[2], Integer.parseInt(words[3]))) {
        return callee.calculator.ping(words[4]);
      }
    }

    public int add(int a, int b) {
      return a + b;
    }

    public int divide(int a, int b) throws Oops {
      if (b == 0) throw new Oops("zero", 7);
      return a / b;
    }

    public void touch() {}

    public void fire(String what) {
      OUT.println("fired " + what);
    }

    public Point move(Point origin, List<Integer> by) {
      return new Point(origin.x + by.get(0), origin.label);
    }
  }

  /** A server that is called, and what has to be closed afterwards. */
  static class Callee implements AutoCloseable {
    final Calculator.Iface calculator;
    private final Runnable close;

    Callee(Calculator.Iface calculator, Runnable close) {
      this.calculator = calculator;
      this.close = close;
    }

    @Override
    public void close() {
      close.run();
    }
  }

  /** @param kind {@code buffered}, {@code framed}, or {@code asynchronous}: the nonblocking client, framed too */
  static Callee callee(String kind, String protocol, int port) throws TException {
    TProtocolFactory protocols = PROTOCOLS.get(protocol);
    if (kind.equals("asynchronous")) {
      Waiting waiting = new Waiting(protocols, port);
      return new Callee(waiting, waiting::close);
    }
    TSocket socket = new TSocket("127.0.0.1", port, TIMEOUT_MS);
    TTransport transport = kind.equals("framed") ? new TFramedTransport(socket) : socket;
    transport.open();
    return new Callee(new Calculator.Client(protocols.getProtocol(transport)), transport::close);
  }

  /** The asynchronous client, one call after the other. */
  static class Waiting implements Calculator.Iface {
    private final TAsyncClientManager manager;
    private final TProtocolFactory protocols;
    private final int port;
    private TNonblockingSocket socket;
    private Calculator.AsyncClient client;

    Waiting(TProtocolFactory protocols, int port) throws TException {
      this.protocols = protocols;
      this.port = port;
      try {
        manager = new TAsyncClientManager();
      } catch (IOException e) {
        throw new TTransportException(e);
      }
      connect();
    }

    private void connect() throws TException {
      try {
        socket = new TNonblockingSocket("127.0.0.1", port);
      } catch (IOException e) {
        throw new TTransportException(e);
      }
      client = new Calculator.AsyncClient(protocols, manager, socket);
    }

    void close() {
      manager.stop();
      socket.close();
    }

    interface Start<R> {
      void with(AsyncMethodCallback<R> callback) throws TException;
    }

    private <R> R result(Start<R> start) throws TException {
      // libthrift gives an asynchronous client up after any exception, declared ones too.
      if (client.hasError()) {
        socket.close();
        connect();
      }
      CompletableFuture<R> future = new CompletableFuture<>();
      start.with(
          new AsyncMethodCallback<R>() {
            @Override
            public void onComplete(R result) {
              future.complete(result);
            }

            @Override
            public void onError(Exception error) {
              future.completeExceptionally(error);
            }
          });
      try {
        return future.get(TIMEOUT_MS, TimeUnit.MILLISECONDS);
      } catch (ExecutionException e) {
        if (e.getCause() instanceof TException) throw (TException) e.getCause();
        throw new TException(e.getCause());
      } catch (Exception e) {
        throw new TException(e);
      }
    }

    public String ping(String name) throws TException {
      return result(callback -> client.ping(name, callback));
    }

    public int add(int a, int b) throws TException {
      return this.<Integer>result(callback -> client.add(a, b, callback));
    }

    public int divide(int a, int b) throws TException {
      return this.<Integer>result(callback -> client.divide(a, b, callback));
    }

    public void touch() throws TException {
      this.<Void>result(callback -> client.touch(callback));
    }

    public void fire(String what) throws TException {
      this.<Void>result(callback -> client.fire(what, callback));
    }

    public Point move(Point origin, List<Integer> by) throws TException {
      return result(callback -> client.move(origin, by, callback));
    }
  }

  static String call(String kind, String protocol, int port) {
    try (Callee callee = callee(kind, protocol, port)) {
      return String.join("|", everyCall(callee.calculator));
    } catch (TException e) {
      return e.toString();
    }
  }

  /** Every method once, on one connection, and then the first one again: the stream is still in step. */
  static List<String> everyCall(Calculator.Iface calculator) throws TException {
    List<String> results = new ArrayList<>();
    results.add(calculator.ping("Grüße, 世界 🙂"));
    results.add(String.valueOf(calculator.add(20, 22)));
    try {
      results.add(String.valueOf(calculator.divide(1, 0)));
    } catch (Oops oops) {
      results.add("Oops " + oops.why + " " + oops.code);
    }
    calculator.touch();
    calculator.fire("from Java");
    Point point = calculator.move(new Point(1, "é"), List.of(41, -1));
    results.add("Point " + point.x + " " + point.label);
    results.add(calculator.ping(""));
    return results;
  }
}
