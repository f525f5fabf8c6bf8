package commands

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hishamos/hishamos/domain"
)

// File is what may be asked of a file that somebody uploads.
//
//sumtype:decl
type File interface {
	Command
	isFile()
}

// BeginUpload begins to upload a file. Who asks has made room for it.
type BeginUpload struct {
	File      domain.StreamID
	Name      string // may be empty
	MediaType string // may be empty
	Size      int64
	Key       string // of its blobs, base64
	Expires   time.Time
}

// CompleteUpload records that all of a file is kept.
type CompleteUpload struct {
	File   domain.StreamID
	Blob   string // address of the manifest
	Size   int64
	Digest string // SHA-256 of the content, in hex
}

// UseFile records that a run refers to a file.
type UseFile struct {
	File domain.StreamID
	By   string // the run
}

// The reasons for which a file is removed.
const (
	UploadTerminated = "terminated" // before it was complete, by who uploads it
	UploadExpired    = "expired"    // it was not complete in time
	FileErased       = "erased"     // an order destroyed its key
)

// RemoveFile records that nothing of a file is kept any more.
type RemoveFile struct {
	File   domain.StreamID
	Reason string // UploadTerminated, UploadExpired or FileErased
}

func (BeginUpload) CommandName() string    { return "file.begin_upload" }
func (CompleteUpload) CommandName() string { return "file.complete_upload" }
func (UseFile) CommandName() string        { return "file.use" }
func (RemoveFile) CommandName() string     { return "file.remove" }

func (c BeginUpload) Target() domain.StreamID    { return c.File }
func (c CompleteUpload) Target() domain.StreamID { return c.File }
func (c UseFile) Target() domain.StreamID        { return c.File }
func (c RemoveFile) Target() domain.StreamID     { return c.File }

func (BeginUpload) Needs() domain.Permission    { return domain.FileWrite }
func (CompleteUpload) Needs() domain.Permission { return domain.FileWrite }
func (UseFile) Needs() domain.Permission        { return domain.FileRead }
func (RemoveFile) Needs() domain.Permission     { return domain.FileWrite }

// Urgent implements the interface of that name.
func (CompleteUpload) Urgent() {}

// Urgent implements the interface of that name.
func (RemoveFile) Urgent() {}

func (BeginUpload) isFile()    {}
func (CompleteUpload) isFile() {}
func (UseFile) isFile()        {}
func (RemoveFile) isFile()     {}

// Validate implements Command.
func (c BeginUpload) Validate() error {
	switch {
	case c.Size < 0:
		return domain.InvalidField("Upload-Length", "is less than nothing", "send the size of the file in bytes")
	case len(c.Name) > 255 || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unicode.IsControl):
		return domain.InvalidField("Upload-Metadata.filename", "is not a name of at most 255 bytes of UTF-8", "shorten it, or leave it out")
	case len(c.MediaType) > 127 || strings.ContainsFunc(c.MediaType, func(r rune) bool { return r < ' ' || r > '~' }):
		return domain.InvalidField("Upload-Metadata.filetype", "is not a media type", "send one like application/pdf, or leave it out")
	case c.Key == "":
		return domain.InvalidField("key", "is missing", "make one")
	}
	return validStream("file", c.File, "file")
}

// Validate implements Command.
func (c CompleteUpload) Validate() error {
	if c.Blob == "" {
		return domain.InvalidField("blob", "is missing", "name the manifest")
	}
	return validStream("file", c.File, "file")
}

// Validate implements Command.
func (c UseFile) Validate() error {
	if c.By == "" {
		return domain.InvalidField("by", "is missing", "name the run")
	}
	return validStream("file", c.File, "file")
}

// Validate implements Command.
func (c RemoveFile) Validate() error {
	if !slices.Contains([]string{UploadTerminated, UploadExpired, FileErased}, c.Reason) {
		return domain.InvalidField("reason", "is not a reason", "use terminated, expired or erased")
	}
	return validStream("file", c.File, "file")
}
