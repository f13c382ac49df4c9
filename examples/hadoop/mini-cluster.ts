import { startYarn } from '../../test/servers/hadoop'

/** A real HDFS and YARN on this machine, to try things out. It ends by Ctrl-C, and its data with it. */
async function main(): Promise<void> {
  const { bin, streaming, conf, web, stop } = await startYarn()
  console.log(`In another terminal:

export PATH=${bin}:$PATH HADOOP_CONF_DIR=${conf} HADOOP_STREAMING=${streaming}
hadoop fs -ls /

WebHDFS is at ${web}. Ctrl-C ends the cluster.`)
  process.once('SIGINT', () => void stop().then(() => process.exit()))
  setInterval(() => {}, 1 << 30)
}

void main()
