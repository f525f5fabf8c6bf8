package hishamos

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hishamos/hishamos/api/v1"
)

// FilesQuery says which files are wanted.
type FilesQuery struct {
	Page
	State string // uploading, ready or removed; empty: all that were not removed
}

// Files lists files.
func (c *Client) Files(ctx context.Context, f FilesQuery) (v1.FileList, error) {
	q := f.values()
	set(q, "state", f.State)
	var out v1.FileList
	_, err := c.get(ctx, escape("files"), q, &out)
	return out, err
}

// File reads about a file, now or as of a position or an instant.
func (c *Client) File(ctx context.Context, id, at string) (v1.File, error) {
	q := url.Values{}
	set(q, "at", at)
	var out v1.File
	_, err := c.get(ctx, escape("files", id), q, &out)
	return out, err
}

// FileContent reads the content of a file from an offset on. The caller closes it.
func (c *Client) FileContent(ctx context.Context, id string, offset int64) (io.ReadCloser, error) {
	r := request{method: http.MethodGet, path: escape("files", id, "content"), header: http.Header{}}
	if offset > 0 {
		r.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	response, err := c.retry(ctx, r)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// EraseFile erases a file for ever.
func (c *Client) EraseFile(ctx context.Context, id, reason string, o Command) (v1.Receipt, error) {
	var out v1.Receipt
	return out, c.command(ctx, http.MethodPost, escape("files", id, "erase"), v1.Erase{Reason: reason}, o, &out)
}

// NewUpload is a file that is to be uploaded.
type NewUpload struct {
	Name      string // may be empty
	MediaType string // may be empty
	Size      int64
}

// BeginUpload begins an upload; its id is that of the file.
func (c *Client) BeginUpload(ctx context.Context, u NewUpload, o Command) (v1.Receipt, error) {
	h := http.Header{"Upload-Length": {strconv.FormatInt(u.Size, 10)}}
	meta := ""
	for _, pair := range [][2]string{{"filename", u.Name}, {"filetype", u.MediaType}} {
		if pair[1] != "" {
			if meta != "" {
				meta += ","
			}
			meta += pair[0] + " " + base64.StdEncoding.EncodeToString([]byte(pair[1]))
		}
	}
	if meta != "" {
		h.Set("Upload-Metadata", meta)
	}
	var out v1.Receipt
	return out, c.commandWith(ctx, h, http.MethodPost, escape("uploads"), nil, o, &out)
}

// Upload reads how far an upload is.
func (c *Client) Upload(ctx context.Context, id string) (v1.Upload, error) {
	var out v1.Upload
	_, err := c.get(ctx, escape("uploads", id), nil, &out)
	return out, err
}

// EndUpload gives an upload up; nothing of it is kept.
func (c *Client) EndUpload(ctx context.Context, id string, o Command) error {
	return c.command(ctx, http.MethodDelete, escape("uploads", id), nil, o, nil)
}

// uploadPatience is how long an upload goes on without getting further.
const uploadPatience = time.Minute

// SendUpload sends the content of an upload from where it stands, and goes on by
// itself when the connection breaks or the server restarts, for a minute without
// progress. Progress, if not nil, is told what is kept. It returns the file.
func (c *Client) SendUpload(ctx context.Context, id string, content io.ReadSeeker, progress func(kept, size int64)) (v1.File, error) {
	last, pause := time.Now(), c.opts.Pause
	for at := int64(-1); ; {
		u, err := c.Upload(ctx, id)
		if err == nil && u.Offset > at {
			at, last, pause = u.Offset, time.Now(), c.opts.Pause
		}
		if err == nil && u.State == v1.FileReady {
			if progress != nil {
				progress(u.Length, u.Length)
			}
			return c.File(ctx, id, "")
		}
		if err == nil {
			err = c.sendFrom(ctx, u, content, progress)
			if err == nil {
				continue // and see that it is complete
			}
		}
		refused, _ := errors.AsType[*Error](err)
		stands := refused != nil && (refused.Code == "upload.busy" || refused.Code == "upload.offset" || refused.Code == "upload.cut")
		if ctx.Err() != nil || !passing(err) && !stands || time.Since(last) > uploadPatience {
			return v1.File{}, err
		}
		select {
		case <-ctx.Done():
			return v1.File{}, context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// sendFrom sends what an upload lacks in one request.
func (c *Client) sendFrom(ctx context.Context, u v1.Upload, content io.ReadSeeker, progress func(kept, size int64)) error {
	if _, err := content.Seek(u.Offset, io.SeekStart); err != nil {
		return fmt.Errorf("read the file: %w", err)
	}
	r := request{method: http.MethodPatch, path: escape("uploads", u.ID), media: "application/offset+octet-stream", header: http.Header{}}
	r.header.Set("Upload-Offset", strconv.FormatInt(u.Offset, 10))
	r.header.Set("Tus-Resumable", "1.0.0")
	source := &counted{r: content, at: u.Offset, size: u.Length, progress: progress}
	r.stream, r.length = io.LimitReader(source, u.Length-u.Offset), u.Length-u.Offset
	response, err := c.send(ctx, r)
	if source.failed != nil {
		return fmt.Errorf("read the file: %w", source.failed)
	}
	if err != nil {
		return err
	}
	if p := response.Header.Get("Hishamos-Position"); p != "" && !c.opts.Apart {
		c.position.Store(p)
	}
	return decode(response, nil)
}

// counted tells how much was read, and keeps why reading failed.
type counted struct {
	r        io.Reader
	at, size int64
	progress func(kept, size int64)
	failed   error
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.at += int64(n)
	if c.progress != nil {
		c.progress(c.at, c.size)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		c.failed = err
	}
	return n, err
}
