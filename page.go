package wsfw

// page is the operator's page.
const page = `<!doctype html><title>wsfw</title><p>sessions: see <a href="sessions">sessions</a>`
