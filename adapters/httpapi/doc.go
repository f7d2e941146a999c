// Package httpapi is the HTTP side of Switchyard: what people, programs with
// an API key, administrators and workers call.
//
// [New] makes one http.Handler out of the use cases of package ports. Every
// route stands in one table (table.go), which names its method, path, the
// credential it takes, its rate limit and its body limit; routing, the 405
// answers, the tests and the listing in testdata are all made from it. A
// route is a go-kit endpoint: credentials and limits are endpoint middlewares
// around a function that decodes the request, calls one use case, and returns
// what there is to say. Errors become HTTP in one place (errors.go); nothing
// else in Switchyard knows a status code.
//
// The handler sets no time limits; those are the server's. A connect can be
// asked to wait for up to 30 s, so a server's write timeout has to be longer.
package httpapi
