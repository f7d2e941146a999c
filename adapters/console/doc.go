// Package console serves the web console: static modules, embedded in the program, that call the
// public HTTP API and nothing else. Whatever the console can do, a client can do.
//
// [New] stands in front of the API. It answers GET and HEAD for the pages of the console and for their
// assets, and leaves every other request to the API:
//
//	/, /sign-in, /sessions/…, /usage, /account, /admin/…   the one document of every page
//	/assets/{version}/{file}                               modules, styles, the icon
//	everything else                                        the API, with its own 404
//
// # What it promises
//
//   - Nobody who installs the Go module needs node: no module is compiled or bundled.
//   - Nothing comes from elsewhere. The Content-Security-Policy allows no inline script or style, no
//     other host, no frame, and no string that becomes code (trusted types).
//   - The refresh token is in an HttpOnly cookie, the access token in a variable of api.js. No token is in
//     a URL or in the storage of the browser.
//   - All modules together are smaller than 150 kB, compressed. A test measures that.
//   - Assets are cached without end: their address has the hash of all of them. A page from before an
//     upgrade gets the present files under its former address, and asks for them each time.
//
// # The modules
//
//	app.js          starts, chooses the page of the address
//	shell.js        the frame of a page: Shell, and Page with its title and actions
//	router.js       the address: navigate, setQuery, match
//	api.js          get, post, put, del, ApiError; signing in and out, the refresh of tokens
//	events.js       the live stream of the user, one for all pages: useEvents
//	load.js         useLoad reads data, useAction runs what a user starts, useInterval, useTicker
//	state.js        stores: account, preferences
//	admin_links.js  the pages of administrators
//	ui/             the parts of pages: Button, Field, Table, Dialog, Confirm, Badge, Note, Problem, …
//	pages/          one module for a page or a tab
//	admin/          the same for administrators; fetched when a page is first opened
//	style/          1-tokens.css has colours, type and space; nothing else names a colour
//	vendor/         preact, htm and icons of Lucide, written by .ci/console-vendor, with their licences
//
// A page is a function of data, and a test draws it from the server's data: there are no mocks. A module
// has at most 300 lines.
//
// # To add a page of administrators
//
//  1. Write admin/fleet.js, as below. Its default export is a component; it gets the variables of the path.
//
//  2. Name it in admin_links.js: in adminPages as ['/admin/fleet', () => import('./admin/fleet.js')], in
//     adminLinks as { href: '/admin/fleet', icon: 'server', text: 'Fleet' }. On phones these links are
//     behind "More".
//
//  3. An icon that is not in vendor/lucide.js yet goes into the list of .ci/console-vendor; run it.
//
//  4. Add a line to the table of app/server/consoletest/pages_test.go. axe-core then looks at the page, and
//     `make screenshots` draws it at both widths in both schemes. Look at the pictures.
//
// admin/fleet.js may be:
//
//	import { html } from '../lib.js';
//	import { get } from '../api.js';
//	import { useInterval, useLoad } from '../load.js';
//	import { Page } from '../shell.js';
//	import { Loaded } from '../ui/note.js';
//	import { Table } from '../ui/table.js';
//
//	export default function Fleet() {
//	  const state = useLoad((signal) => get('/workers', { limit: 100 }, { signal }), []);
//	  useInterval(state.reload, 5000);
//	  return html`<${Page} title="Fleet" lead="Who is in trouble?">
//	    <${Loaded} state=${state}>${(d) => html`<${Table} caption="Workers" rows=${d.workers} rowKey=${(w) => w.id}
//	      columns=${[['Worker', (w) => w.id], ['State', (w) => w.status]]} />`}<//><//>`;
//	}
//
// # Rules of the design
//
// The first thing on a page answers its one question. A state has a word, a colour and a shape
// (ui/badge.js). An error stands beside its cause (Problem shows the request id). An act that is hard to undo
// names its object and cost (Confirm). Margin and padding are logical properties, which also fit text from
// right to left. After an act a page reloads its data, and does not guess them.
package console
