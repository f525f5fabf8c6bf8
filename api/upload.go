package api

import (
	"context"
	"crypto/sha1" //nolint:gosec // the protocol demands it; it guards against accidents only
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

// Uploads follow the tus protocol, version 1.0.0 (tus.io/protocols/resumable-upload),
// with its extensions for creation, expiration, checksums and termination.
const (
	tusVersion    = "1.0.0"
	tusExtensions = "creation,expiration,checksum,termination"
	tusChecksums  = "sha256,sha1"

	headerTus      = "Tus-Resumable"
	headerOffset   = "Upload-Offset"
	headerLength   = "Upload-Length"
	headerMetadata = "Upload-Metadata"
	headerExpires  = "Upload-Expires"
	headerChecksum = "Upload-Checksum"

	uploadType = "application/offset+octet-stream"
)

// uploadPause is how long an upload may bring nothing before it is cut.
const uploadPause = time.Minute

var (
	errTus = &domain.Error{
		Kind: domain.Stale, Code: "upload.version", Field: headerTus,
		Message: "is not a version of the protocol that is spoken here", Fix: "use 1.0.0",
	}
	errUploadType = &domain.Error{
		Kind: domain.Invalid, Code: "upload.media_type", Message: "the content type of the body is not that of an upload", Fix: "send application/offset+octet-stream",
	}
	errUploadSize = &domain.Error{
		Kind: domain.TooLarge, Code: "upload.too_large", Field: headerLength,
		Message: "is more than HISHAMOS_UPLOAD_LIMIT allows", Fix: "send a smaller file, or ask the operator to raise the limit",
	}
)

// UploadState is how far an upload is, as its own events and parts have it.
type UploadState struct {
	Ready          bool // the file is complete
	Offset, Length int64
	Expires        time.Time
}

type createUploadInput struct {
	CommandHeaders
	Length   string `header:"Upload-Length" required:"true" pattern:"^[0-9]{1,19}$" example:"1048576" doc:"Bytes of the whole file"`
	Metadata string `header:"Upload-Metadata" maxLength:"2048" example:"filename cGxhbi5wZGY=,filetype YXBwbGljYXRpb24vcGRm" doc:"filename and filetype, each with its value in base64, separated by commas"`
}

type createdUpload struct {
	Location string `header:"Location" doc:"Where to send the content"`
	Offset   string `header:"Upload-Offset" doc:"How much is kept: nothing yet"`
	Expires  string `header:"Upload-Expires" doc:"When the upload is given up if it is not complete"`
	Body     v1.Receipt
}

func (s *server) createUpload(ctx context.Context, in *createUploadInput) (*createdUpload, error) {
	size, err := strconv.ParseInt(in.Length, 10, 64)
	if err != nil {
		return nil, errUploadSize
	}
	meta, err := parseMetadata(in.Metadata)
	if err != nil {
		return nil, err
	}
	c := callOf(ctx)
	c.body = []byte(in.Length + " " + in.Metadata) // what a repetition must be equal to
	c2 := commands.BeginUpload{
		File: domain.NewStreamID(c.principal.Tenant, "file_"+s.IDs.NewID()), Size: size, Name: first(meta, "filename", "name"), MediaType: first(meta, "filetype", "type"),
	}
	var r done
	if size > s.UploadLimit {
		err = errUploadSize.With("is %d bytes, and HISHAMOS_UPLOAD_LIMIT allows %d", size, s.UploadLimit)
	} else {
		c2.Key, c2.Expires, err = s.Uploads.Begin(ctx, c2.File, size)
	}
	if err != nil {
		r, err = s.refused(ctx, in.CommandHeaders, err)
	} else {
		r, err = s.do(ctx, in.CommandHeaders, c2, nil)
		if err != nil && domain.KindOf(err) != domain.Unknown || r.replayed {
			err = errors.Join(err, s.Uploads.GiveBack(context.WithoutCancel(ctx), c2.File))
		}
	}
	if err != nil {
		return nil, err
	}
	stream := domain.NewStreamID(c.principal.Tenant, r.ID)
	location := "/api/v1/uploads/" + r.ID
	state, err := s.Uploads.State(ctx, stream)
	if r.replayed && domain.KindOf(err) == domain.NotFound { // it was given up since
		return &createdUpload{Location: location, Offset: "0", Body: r.Receipt}, nil
	}
	if err == nil && size == 0 && !state.Ready {
		err = s.complete(ctx, stream)
	}
	if err != nil {
		return nil, err
	}
	return &createdUpload{
		Location: location, Offset: "0", Expires: state.Expires.UTC().Format(http.TimeFormat), Body: r.Receipt,
	}, nil
}

func first(meta map[string]string, names ...string) string {
	for _, name := range names {
		if v := meta[name]; v != "" {
			return v
		}
	}
	return ""
}

// parseMetadata reads pairs of a name and a value in base64.
func parseMetadata(text string) (map[string]string, error) {
	out := make(map[string]string)
	for pair := range strings.SplitSeq(text, ",") {
		name, encoded, _ := strings.Cut(strings.TrimSpace(pair), " ")
		if name == "" {
			continue
		}
		value, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if _, twice := out[name]; err != nil || twice {
			return nil, domain.InvalidField(headerMetadata, "is not a list of names with values in base64", "write it like: filename cGxhbi5wZGY=")
		}
		out[name] = string(value)
	}
	return out, nil
}

type uploadState struct {
	Offset  string `header:"Upload-Offset" doc:"How much is kept"`
	Length  string `header:"Upload-Length" doc:"Bytes of the whole file"`
	Expires string `header:"Upload-Expires" doc:"When the upload is given up if it is not complete"`
	Body    v1.Upload
}

// getUpload says where an upload stands. If all is kept and only the last answer
// was lost on the way, it completes the file.
func (s *server) getUpload(ctx context.Context, in *FilePath) (*uploadState, error) {
	stream, err := fileStream(ctx, in.File)
	if err != nil {
		return nil, err
	}
	state, err := s.Uploads.State(ctx, stream)
	if err == nil && !state.Ready && state.Offset == state.Length {
		err = s.complete(ctx, stream)
		state.Ready = err == nil
	}
	if err != nil {
		return nil, err
	}
	out := v1.Upload{ID: in.File, State: v1.FileUploading, Offset: state.Offset, Length: state.Length, Expires: state.Expires}
	if state.Ready {
		out.State = v1.FileReady
	}
	return &uploadState{
		Offset: strconv.FormatInt(state.Offset, 10), Length: strconv.FormatInt(state.Length, 10),
		Expires: state.Expires.UTC().Format(http.TimeFormat), Body: out,
	}, nil
}

// complete records that all of a file is kept.
func (s *server) complete(ctx context.Context, stream domain.StreamID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	c := callOf(ctx)
	command, err := s.Uploads.Finish(ctx, stream)
	if err != nil {
		return err
	}
	r, err := s.Dispatcher.Do(ctx, commands.Request{
		ID: domain.DerivedCommandID("complete_upload", domain.EventID(stream)), Principal: c.principal, Command: command, TraceParent: c.trace,
	})
	if err == nil && r.Last > 0 {
		c.header.Set(headerPosition, encodePosition(s.Epoch(), r.Last))
	}
	return err
}

type appendUploadInput struct {
	FilePath
	Offset   string `header:"Upload-Offset" required:"true" pattern:"^[0-9]{1,19}$" doc:"Where the body belongs: how much is kept"`
	Checksum string `header:"Upload-Checksum" maxLength:"128" example:"sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" doc:"Algorithm, sha256 or sha1, and the hash of the body in base64: nothing of the body counts if it is another's"`
}

// appendUpload adapts receive, which reads the body as it comes.
func appendUpload(s *server, op huma.Operation) {
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{uploadType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}
	text := &huma.Schema{Type: huma.TypeString}
	op.Responses["204"] = &huma.Response{Description: "What was sent is kept", Headers: map[string]*huma.Param{headerOffset: {Schema: text, Description: "How much is kept now"}}}
	op.Responses["409"] = &huma.Response{Description: "The upload stands elsewhere, or another request uploads to it"}
	op.Responses["415"] = &huma.Response{Description: "The body is not sent as " + uploadType}
	op.Responses["460"] = &huma.Response{Description: "The checksum is another's, and nothing of the body counts"}
	op.Responses["507"] = &huma.Response{Description: "There is no room where files are kept: try again after Retry-After"}
	huma.Register(s.huma, op, func(_ context.Context, in *appendUploadInput) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(h huma.Context) {
			g := humagin.Unwrap(h)
			offset, err := s.receive(g, in)
			if offset >= 0 {
				g.Header(headerOffset, strconv.FormatInt(offset, 10))
			}
			if err != nil {
				s.fail(g, err)
				return
			}
			g.Status(http.StatusNoContent)
			g.Writer.WriteHeaderNow()
		}}, nil
	})
}

// receive takes what a body brings. It returns how much is kept then, or −1 if
// that was not looked up.
func (s *server) receive(g *gin.Context, in *appendUploadInput) (int64, error) {
	ctx := g.Request.Context()
	if media, _, _ := strings.Cut(g.GetHeader("Content-Type"), ";"); media != uploadType {
		return -1, errUploadType
	}
	offset, err := strconv.ParseInt(in.Offset, 10, 64)
	if err != nil {
		return -1, domain.InvalidField(headerOffset, "is not a number", "ask with HEAD where the upload stands")
	}
	check, err := parseChecksum(in.Checksum)
	if err != nil {
		return -1, err
	}
	stream, err := fileStream(ctx, in.File)
	if err != nil {
		return -1, err
	}
	kept, err := s.Uploads.Append(ctx, stream, offset, patient{g.Request.Body, http.NewResponseController(g.Writer)}, check)
	if err != nil {
		return -1, err
	}
	s.Metrics.Uploaded(kept - offset)
	state, err := s.Uploads.State(ctx, stream)
	if err == nil && !state.Ready && state.Offset == state.Length {
		err = s.complete(ctx, stream)
	}
	return kept, err
}

// patient reads a body for as long as it brings something.
type patient struct {
	body    io.Reader
	control *http.ResponseController
}

func (p patient) Read(b []byte) (int, error) {
	setDeadline(p.control.SetReadDeadline, time.Now().Add(uploadPause))
	n, err := p.body.Read(b)
	if err != nil { // a deadline left over would end the request that follows
		setDeadline(p.control.SetReadDeadline, time.Time{})
	}
	return n, err
}

func parseChecksum(text string) (*domain.Checksum, error) {
	if text == "" {
		return nil, nil
	}
	algorithm, encoded, _ := strings.Cut(text, " ")
	want, err := base64.StdEncoding.DecodeString(encoded)
	c := &domain.Checksum{Want: want}
	switch algorithm {
	case "sha256":
		c.Hash = sha256.New()
	case "sha1":
		c.Hash = sha1.New() //nolint:gosec // see the import
	}
	if err != nil || c.Hash == nil || len(want) != c.Hash.Size() {
		return nil, domain.InvalidField(headerChecksum, "is not an algorithm and a hash in base64", fmt.Sprintf("use one of %s", tusChecksums))
	}
	return c, nil
}

type endUploadInput struct {
	CommandHeaders
	FilePath
}

// endUpload gives an upload up.
func (s *server) endUpload(ctx context.Context, in *endUploadInput) (*struct{}, error) {
	stream, err := fileStream(ctx, in.File)
	if err == nil {
		_, err = s.do(ctx, in.CommandHeaders, commands.RemoveFile{File: stream, Reason: commands.UploadTerminated}, nil)
	}
	return nil, err
}

type uploadOptions struct {
	Version    string `header:"Tus-Version" doc:"Versions of the protocol that are spoken"`
	Extensions string `header:"Tus-Extension" doc:"Extensions of the protocol that are spoken"`
	Checksums  string `header:"Tus-Checksum-Algorithm" doc:"Algorithms of checksums"`
	Max        string `header:"Tus-Max-Size" doc:"Bytes of the largest file"`
}

func (s *server) uploadOptions(context.Context, *struct{}) (*uploadOptions, error) {
	return &uploadOptions{tusVersion, tusExtensions, tusChecksums, strconv.FormatInt(s.UploadLimit, 10)}, nil
}

// speaksTus checks the version of the protocol that a client asks for, and states
// ours.
func speaksTus(g *gin.Context) error {
	g.Header(headerTus, tusVersion)
	if v := g.GetHeader(headerTus); v != "" && v != tusVersion {
		g.Header("Tus-Version", tusVersion)
		return errTus
	}
	return nil
}
