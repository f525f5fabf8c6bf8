package v1

import "time"

// The states of a file.
const (
	FileUploading = "uploading" // not all of it is kept yet
	FileReady     = "ready"     // can be read and used
	FileRemoved   = "removed"   // nothing of it is kept
)

// File is a file that somebody uploads.
type File struct {
	ID        string     `json:"id"`
	State     string     `json:"state" enum:"uploading,ready,removed"`
	Name      string     `json:"name,omitempty" doc:"As the uploader says"`
	MediaType string     `json:"media_type,omitempty" doc:"As the uploader says"`
	Size      int64      `json:"size" doc:"Bytes of its content"`
	Digest    string     `json:"digest,omitempty" doc:"SHA-256 of its content, in hex"`
	Hash      string     `json:"hash,omitempty" doc:"SHA-256, in hex, of the list of its encrypted parts: the event names it"`
	Used      bool       `json:"used,omitempty" doc:"Something refers to it, so it does not expire"`
	Reason    string     `json:"reason,omitempty" doc:"Why it was removed: terminated, expired or erased"`
	Created   time.Time  `json:"created"`
	CreatedBy string     `json:"created_by,omitempty" doc:"Who uploads it"`
	Expires   *time.Time `json:"expires,omitempty" doc:"When the upload is given up if it is not complete"`
	Uploaded  *time.Time `json:"uploaded,omitempty" doc:"When it was complete"`
	Version   Ordinal    `json:"version" doc:"Number of its events; the ETag"`
	Erased    bool       `json:"erased,omitempty" doc:"It was erased for ever: such values are [erased]"`
	Sealed    bool       `json:"sealed,omitempty" doc:"It has content, which needs permission content:read: such values are [sealed]"`
}

// FileList is a page of files.
type FileList struct {
	Items []File `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Cursor of the page after this one; left out on the last"`
}

// Upload is how far an upload is.
type Upload struct {
	ID      string    `json:"id"`
	State   string    `json:"state" enum:"uploading,ready"`
	Offset  int64     `json:"offset" doc:"Bytes that are kept: go on from there"`
	Length  int64     `json:"length" doc:"Bytes of the whole file"`
	Expires time.Time `json:"expires" doc:"When the upload is given up if it is not complete"`
}
