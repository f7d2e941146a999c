package ports

// MediaTypes knows types of media. It is safe for concurrent use.
type MediaTypes interface {
	// DetectType returns the media type of content by its first bytes, in lower case and without a
	// charset, such as image/png. It does not trust a name or a declaration. 3 KiB are enough.
	//
	// OGG with Opus is audio/ogg; codecs=opus, every other OGG audio/ogg, video/ogg or application/ogg.
	// Unknown content is application/octet-stream, or text/plain if it is text.
	DetectType(head []byte) string
	// Extension returns the usual ending of the names of files of a media type, with its dot. It is
	// empty for an unknown type. Parameters of the type are ignored.
	Extension(mediaType string) string
}
