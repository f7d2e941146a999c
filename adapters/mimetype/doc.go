// Package mimetype tells types of media by their content.
//
// [Types] implements [ports.MediaTypes] with gabriel-vasile/mimetype. net/http knows
// neither M4A, AMR, AAC, HEIC nor Office documents; the library knows about 190 formats,
// and looks at the first 3 KiB.
//
// The library does not tell the codec in an OGG container. WhatsApp plays Opus alone, and
// so this package looks for the head of an Opus stream, which begins the first page.
package mimetype
