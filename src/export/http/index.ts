/** The protocols over HTTP. They lie in a file of their own (tsup.config.ts), which is loaded where one of them is configured. */
export { otlp } from './otlp'
export { zipkin } from './zipkin'
