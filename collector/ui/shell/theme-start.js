// Runs before the first paint; shell/theme.ts stores the theme that it reads.
try {
  const theme = localStorage.getItem('milo.theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // Storage is forbidden: the system's theme applies.
}
