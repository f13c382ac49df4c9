import java.io.File;
import java.io.FileOutputStream;
import java.io.OutputStream;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.MiniDFSCluster;
import org.apache.hadoop.mapreduce.v2.MiniMRYarnCluster;

/**
 * A Hadoop cluster of one machine, in one process: HDFS with WebHDFS, and YARN with MapReduce if asked for.
 *
 * <pre>MiniCluster FOLDER NAMENODE_PORT WEB_PORT [yarn [NAME=VALUE …]]</pre>
 *
 * Data are in FOLDER/hdfs and survive a restart; FOLDER/conf is the configuration of clients. The names and values are
 * properties of the cluster, and of what clients run. Prints "ready" and ends by SIGTERM.
 */
public class MiniCluster {
  public static void main(String[] args) throws Exception {
    File folder = new File(args[0]).getAbsoluteFile();
    File data = new File(folder, "hdfs");
    Configuration conf = new HdfsConfiguration();
    conf.set(MiniDFSCluster.HDFS_MINIDFS_BASEDIR, data.getPath());
    conf.set("hadoop.tmp.dir", new File(folder, "tmp").getPath());
    // Tokens are for clusters with Kerberos; so HDFS gives them without.
    conf.setBoolean("dfs.namenode.delegation.token.always-use", true);
    for (int i = 4; i < args.length; i++) {
      int at = args[i].indexOf('=');
      conf.set(args[i].substring(0, at), args[i].substring(at + 1));
    }
    MiniDFSCluster hdfs =
        new MiniDFSCluster.Builder(conf)
            .nameNodePort(Integer.parseInt(args[1]))
            .nameNodeHttpPort(Integer.parseInt(args[2]))
            .format(!data.exists())
            .numDataNodes(1)
            .build();
    hdfs.waitActive();
    MiniMRYarnCluster yarn = null;
    if (args.length > 3) {
      yarn = new MiniMRYarnCluster("yarn", 1);
      yarn.init(conf);
      yarn.start();
      conf = yarn.getConfig();
    }
    conf.set(FileSystem.FS_DEFAULT_NAME_KEY, hdfs.getFileSystem().getUri().toString());
    // Whoever reads only one of these files runs jobs in his own process without a word.
    File files = new File(folder, "conf");
    files.mkdirs();
    for (String name : new String[] {"core", "hdfs", "mapred", "yarn"}) {
      try (OutputStream out = new FileOutputStream(new File(files, name + "-site.xml"))) {
        conf.writeXml(out);
      }
    }
    MiniMRYarnCluster started = yarn;
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  // With it end the containers, which are processes of their own.
                  if (started != null) started.stop();
                  hdfs.shutdown();
                }));
    System.out.println("ready");
    Thread.currentThread().join();
  }
}
