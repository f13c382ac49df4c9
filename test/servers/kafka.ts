import { Program } from '../helpers/programs'
import { goKafka } from './go'

/** Kafka's protocol, spoken by franz-go's broker for tests: one process, which has its topics in memory. */
export interface KafkaServer {
  /** `host:port` */
  broker: string
  stop(): Promise<number | null>
}

export async function startKafka(topics: string[]): Promise<KafkaServer> {
  const program = new Program(await goKafka(), topics)
  const [, broker] = await program.printed(/^listening (.*)\n/m)
  return { broker: broker!, stop: () => program.stop() }
}
