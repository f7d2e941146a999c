// Package chromiumtest drives pages of the console in headless Chromium, for tests.
//
// A [Page] is found its way around as a person would: by the names of buttons and links, and by the
// labels of fields. Every step waits until its element is there and can be pressed, so no test sleeps.
//
// When a test ends it fails if the page has written an error or a warning to the browser's console,
// thrown an exception, broken the Content-Security-Policy, or made a request to another place than
// the server. A test that provokes a refused request names it with [Page.Expect].
//
// [Page.CheckAccessibility] runs axe-core, which `make axe` fetches into .cache.
package chromiumtest
