import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { loadConfig } from '../../collector/src/config'
import { ROOT } from '../helpers/child'

const path = (name: string) => join(ROOT, 'examples/containers', name)

/** What can be checked without a container engine: nothing here builds or runs them. */
describe('examples/containers', () => {
  const compose = parse(readFileSync(path('compose.yaml'), 'utf8'))
  const variables = (file: string) =>
    [...readFileSync(path(file), 'utf8').matchAll(/^(\w+)=(.*)$/gm)].map(([, name, value]) => [name!, value!] as const)

  it('has a configuration that the collector loads, with the services and the secrets of compose.yaml', () => {
    const env = Object.fromEntries(variables('collector.env.example').map(([name]) => [name, 'secret']))
    env.MILO_COLLECTOR_HTTP_USERS = ''
    env.MILO_COLLECTOR_HTTP_AUTH = 'none'
    const { config, notices } = loadConfig(path('collector.yaml'), env)
    assert.deepEqual(notices, [])
    assert.equal(config.store, 'cassandra-mysql')
    assert.equal(config.mysql.password, 'secret')
    for (const { hostname } of [config.cassandra, config.mysql])
      assert.ok(compose.services[String(hostname)], String(hostname))
    const published = compose.services.collector.ports.map((port: string) => Number(port.split(':').pop()))
    assert.deepEqual(published, [...[config.collector_port].flat(), config.http.port])
  })

  it('publishes ports on loopback alone, and only the collector’s', () => {
    for (const [name, { ports = [] }] of Object.entries<any>(compose.services)) {
      assert.ok(name === 'collector' || ports.length === 0, name)
      for (const port of ports) assert.match(port, /^127\.0\.0\.1:/)
    }
  })

  it('keeps the databases in volumes and passwords out of the repository', () => {
    for (const name of ['cassandra', 'mysql']) {
      assert.match(compose.services[name].volumes[0], new RegExp(`^${name}:/var/lib/`))
      assert.ok(name in compose.volumes)
    }
    for (const file of ['collector.env.example', 'mysql.env.example']) {
      assert.deepEqual(
        variables(file).filter(([, value]) => value !== ''),
        [],
      )
    }
    assert.match(readFileSync(path('.gitignore'), 'utf8'), /^\*\.env$/m)
    assert.match(readFileSync(path('Containerfile.dockerignore'), 'utf8'), /^\*\*\/\*\.env$/m)
  })

  it('runs the collector as another user than root, and asks /readyz for its health', () => {
    const text = readFileSync(path('Containerfile'), 'utf8')
    assert.match(text, /^USER node$/m)
    assert.match(text, /^HEALTHCHECK .*\n.*\/readyz/m)
  })
})
