import type { Plugin, PluginHandle } from 'milo/plugin'
import { isRecording, takeRoute } from '../http'

/** express: the span of a request has the name of its route, also within routers and applications that are mounted below one another. */
export const express: Plugin = {
  name: 'express',
  patches: [
    { module: 'express', versions: '>=4.8 <5', file: 'lib/router/layer.js', sign: /express:router:[l]ayer/, patch },
    // The router of express 5.
    { module: 'router', versions: '>=2 <3', file: 'lib/layer.js', sign: /\brouter:[l]ayer/, patch },
  ],
}

function patch(exports: any, plugin: PluginHandle) {
  loaded ??= require('./code') as typeof import('./code')
  return loaded.patchLayer(exports, plugin, { isRecording, takeRoute })
}

/** Kept: it has state, and an application may empty Node's cache of modules. */
let loaded: typeof import('./code') | undefined
