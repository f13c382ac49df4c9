/** `milo/cls`: the API of cls-hooked on Milo's one AsyncLocalStorage. */
export * from './cls/namespaces'
