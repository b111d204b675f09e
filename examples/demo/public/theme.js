// Loaded before the first paint, as a classic script, so that the page never flashes in the wrong colours.
(function () {
  const system = window.matchMedia('(prefers-color-scheme: dark)')
  const asked = new URLSearchParams(window.location.search).get('theme')
  let chosen = asked === 'dark' || asked === 'light' ? asked : stored()

  function stored () {
    try {
      return window.localStorage.getItem('theme')
    } catch {
      return null
    }
  }

  function apply () {
    document.documentElement.dataset.theme = chosen ?? (system.matches ? 'dark' : 'light')
    window.dispatchEvent(new window.Event('themechange'))
  }

  window.toggleTheme = function () {
    chosen = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'
    try {
      // Back at what the system says, the page follows the system again.
      if (chosen === (system.matches ? 'dark' : 'light')) {
        window.localStorage.removeItem('theme')
        chosen = null
      } else {
        window.localStorage.setItem('theme', chosen)
      }
    } catch {
      // Without storage the choice holds until the page is left.
    }
    apply()
  }

  system.addEventListener('change', apply)
  apply()
})()
