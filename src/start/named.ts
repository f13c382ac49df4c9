import { BadVariable, type MiloError } from '../errors'

/** @returns the error of `read`; in its place BadVariable, if there is one of the variables without which it isn't there */
export function named(
  error: MiloError,
  variables: readonly string[],
  env: NodeJS.ProcessEnv,
  read: (env: NodeJS.ProcessEnv) => unknown,
): MiloError {
  const { code, message } = error
  // The more special ones come last: MILO_RETROACTIVE, MILO_RETROACTIVE_BYTES.
  const variable = variables.findLast(name => env[name] && !throws(message, env, name, read))
  if (variable === undefined) return error
  const text = message.slice(code.length + 2)
  return new BadVariable(code, text.includes(variable) ? text : `${text}, in ${variable}`)
}

function throws(message: string, env: NodeJS.ProcessEnv, without: string, read: (env: NodeJS.ProcessEnv) => unknown) {
  try {
    read({ ...env, [without]: undefined })
    return false
  } catch (error) {
    return (error as Error).message === message
  }
}
