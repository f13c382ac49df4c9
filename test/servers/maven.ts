import { writeFileSync } from 'node:fs'
import { apt, cached, run, which } from './install'

/** `group:artifact:version`; or with `:type:classifier` behind it, which holds all that it needs. */
export type Coordinates = string

/**
 * What Maven finds for these, with all that they need to run.
 * @param remedy how to go on without Maven, if there is a way
 * @returns the folder of the jars
 */
export function mavenJars(name: string, dependencies: Coordinates[], remedy = ''): Promise<string> {
  return cached(name, async folder => {
    if (which('mvn') === undefined) await apt(['maven'], remedy)
    const listed = dependencies.map(dependency => {
      const [group, artifact, version, type, classifier] = dependency.split(':')
      const extra =
        type === undefined
          ? ''
          : `<type>${type}</type><classifier>${classifier}</classifier><exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>`
      return `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version>${extra}</dependency>`
    })
    writeFileSync(
      `${folder}/pom.xml`,
      `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>milo.test</groupId>
  <artifactId>${name}</artifactId>
  <version>1</version>
  <dependencies>
    ${listed.join('\n    ')}
  </dependencies>
</project>
`,
    )
    // The plugin's version is named, or Maven asks which is the newest.
    const goal = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'
    try {
      await run('mvn', ['-q', '-B', goal, '-DincludeScope=runtime', `-DoutputDirectory=${folder}`], { cwd: folder })
    } catch (error) {
      if (remedy === '') throw error
      throw new Error(`${(error as Error).message}\nTo go on without Maven: ${remedy}`)
    }
  })
}
