// admin_links lists the pages of administrators: where they are in the rail, and the module of each
// (with a component as its default export), which is fetched when the page is first opened.
export const adminLinks = [];

// adminPages are [pattern, load], as in ['/admin/fleet', () => import('./admin/fleet.js')].
export const adminPages = [];
