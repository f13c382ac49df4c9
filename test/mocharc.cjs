{
  "require": ["tsx/cjs", "test/servers/embedded-worker.ts", "test/servers/hooks.ts"],
  "spec": [
    "test/contract/*.test.ts",
    "test/src/export/emitter-chaos.test.ts",
    "test/!(contract)/**/!(emitter-chaos).test.ts",
    "test/*.test.ts"
  ],
  "ignore": ["test/bench/**"],
  "parallel": true,
  "jobs": 2,
  "timeout": 60000,
  "exit": true
}
