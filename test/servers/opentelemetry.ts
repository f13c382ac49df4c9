import { npmPackages } from './npm'

/**
 * OpenTelemetry's API and instrumentations, and what they instrument.
 *
 *   all      the newest of all that run on Node 20, and OpenTelemetry's SDK to compare with
 *   oldest   the first API that has what instrumentations of 2023 ask for, and some of those
 *   newest   what needs Node 22.15
 */
const SETS = {
  all: [
    '@opentelemetry/api@1.9.1',
    '@opentelemetry/sdk-trace-node@2.12.1',
    '@opentelemetry/instrumentation-http@0.223.0',
    '@opentelemetry/instrumentation-express@0.71.1',
    '@opentelemetry/instrumentation-fastify@0.57.0',
    '@opentelemetry/instrumentation-pg@0.76.0',
    '@opentelemetry/instrumentation-ioredis@0.71.0',
    '@opentelemetry/instrumentation-kafkajs@0.32.0',
    '@opentelemetry/instrumentation-mongodb@0.76.0',
    '@opentelemetry/instrumentation-undici@0.33.0',
    '@opentelemetry/instrumentation-aws-sdk@0.78.0',
    'express@5.3.0',
    'fastify@5.12.8',
    'pg@8.23.1',
    'ioredis@5.11.1',
    'kafkajs@2.2.4',
    'mongodb@6.22.0',
    'undici@7.30.2',
    '@aws-sdk/client-s3@3.1175.0',
    '@aws-sdk/client-sqs@3.1175.0',
  ],
  oldest: [
    '@opentelemetry/api@1.3.0',
    '@opentelemetry/instrumentation-http@0.35.1',
    '@opentelemetry/instrumentation-express@0.32.1',
    '@opentelemetry/instrumentation-pg@0.34.1',
    '@opentelemetry/instrumentation-ioredis@0.34.1',
    'express@4.18.2',
    'pg@8.8.0',
    'ioredis@5.2.4',
  ],
  newest: [
    '@opentelemetry/api@1.10.0',
    '@opentelemetry/instrumentation-http@0.301.0',
    '@opentelemetry/instrumentation-express@0.72.0',
    '@opentelemetry/instrumentation-undici@0.34.0',
    '@opentelemetry/instrumentation-fastify@0.57.0',
    '@opentelemetry/instrumentation-pg@0.77.0',
    '@opentelemetry/instrumentation-ioredis@0.72.0',
    'express@5.3.0',
    'fastify@5.12.8',
    'pg@8.23.1',
    'ioredis@5.11.1',
    'undici@8.13.1',
  ],
} as const

/** @returns a folder whose node_modules has them */
export function instrumented(set: keyof typeof SETS): Promise<string> {
  return npmPackages(...SETS[set])
}
