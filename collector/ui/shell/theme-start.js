// Runs before the first paint; shell/theme.ts writes what it reads.
try {
  const theme = localStorage.getItem('milo.theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // Storage is forbidden: the system's theme it is.
}
