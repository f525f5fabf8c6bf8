package events

import "time"

// File is what can happen to a file that somebody uploads.
//
//sumtype:decl
type File interface {
	Event
	isFile()
}

// UploadBegun says that somebody uploads a file, and how large it will be.
type UploadBegun struct {
	Name      string    `json:"name,omitempty" class:"content"`
	MediaType string    `json:"media_type,omitempty" class:"content"` // as the uploader says
	Size      int64     `json:"size"`
	Key       string    `json:"key" class:"content"` // of the file's blobs, base64; it is gone with the key of the stream
	Expires   time.Time `json:"expires"`             // when it is given up if it is not complete
}

// FileUploaded says that all of a file is kept.
type FileUploaded struct {
	Blob   string `json:"blob"` // address of the manifest, which names the file's blobs by the hash of their ciphertext
	Size   int64  `json:"size"`
	Digest string `json:"digest" class:"content"` // SHA-256 of the content: it lets one guess what was hashed
}

// FileUsed says that something refers to a file for the first time: from now on
// it is kept until somebody erases it.
type FileUsed struct {
	By string `json:"by"` // the run
}

// FileRemoved says that nothing of a file is kept any more.
type FileRemoved struct {
	Reason string `json:"reason"` // terminated, expired or erased
}

func (UploadBegun) EventType() string  { return "file.upload_begun" }
func (FileUploaded) EventType() string { return "file.uploaded" }
func (FileUsed) EventType() string     { return "file.used" }
func (FileRemoved) EventType() string  { return "file.removed" }

func (UploadBegun) isFile()  {}
func (FileUploaded) isFile() {}
func (FileUsed) isFile()     {}
func (FileRemoved) isFile()  {}

var fileTypes = []Type{of[UploadBegun](), of[FileUploaded](closes), of[FileUsed](), of[FileRemoved](closes)}
