package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// FileContent is a file that is open for reading.
type FileContent struct {
	io.ReadSeeker
	Name, MediaType string
	Hash            string // changes with the content
}

// FilePath names a file. It is exported only because huma reads exported fields
// alone.
type FilePath struct {
	File string `path:"file" maxLength:"80" doc:"Id of the file" example:"file_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a"`
}

type getFileInput struct {
	AtQuery
	Conditional
	FilePath
}

// fileStream is the stream of a file of the caller's tenant.
func fileStream(ctx context.Context, file string) (domain.StreamID, error) {
	stream := domain.NewStreamID(callOf(ctx).principal.Tenant, file)
	if !stream.Valid() || stream.Kind() != "file" {
		return "", errNotFound
	}
	return stream, nil
}

var (
	typeBegun    = events.UploadBegun{}.EventType()
	typeUploaded = events.FileUploaded{}.EventType()
)

func (o *opening) file(t domain.Tenant, f *v1.File) error {
	stream := domain.NewStreamID(t, f.ID)
	f.Name = o.text(stream, typeBegun, "name", f.Name)
	f.MediaType = o.text(stream, typeBegun, "media_type", f.MediaType)
	f.Digest = o.text(stream, typeUploaded, "digest", f.Digest)
	f.Erased, f.Sealed = o.erased, o.sealed
	return o.err
}

func (s *server) getFile(ctx context.Context, in *getFileInput) (*versioned[v1.File], error) {
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	tenant := callOf(ctx).principal.Tenant
	f, err := s.Files.File(ctx, tenant, in.File, at)
	if err == nil {
		err = s.opens(ctx).file(tenant, &f)
	}
	if err != nil {
		return nil, err
	}
	tag := etag(uint64(f.Version))
	if f.Erased { // by no event of the file
		tag = strings.TrimSuffix(tag, `"`) + `-erased"`
	}
	if f.Sealed {
		tag = strings.TrimSuffix(tag, `"`) + `-sealed"`
	}
	return unlessKnown(in.Conditional, tag, f)
}

type listFilesInput struct {
	PageQuery
	AtQuery
	State string `query:"state" enum:"uploading,ready,removed" doc:"In this state; left out: all that were not removed"`
	Sort  string `query:"sort" enum:"created,-created" default:"-created" doc:"Order; - is descending"`
}

func (s *server) listFiles(ctx context.Context, in *listFilesInput) (*body[v1.FileList], error) {
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	f := FileFilter{State: in.State, OldestTop: in.Sort == "created", At: at}
	p, err := s.page(in.PageQuery, "files", f)
	if err != nil {
		return nil, err
	}
	tenant := callOf(ctx).principal.Tenant
	items, next, err := s.Files.Files(ctx, tenant, f, p)
	if err != nil {
		return nil, err
	}
	opens := s.opens(ctx)
	for i := range items {
		if err := opens.fresh(ctx).file(tenant, &items[i]); err != nil {
			return nil, err
		}
	}
	return answer(v1.FileList{Items: list(items), Next: s.cursor("files", f, next)}), nil
}

type contentInput struct {
	FilePath
	Conditional
	Range string `header:"Range" maxLength:"256" example:"bytes=0-99" doc:"A part of the content (RFC 9110)"`
}

// fileContent adapts fileContentOf, whose answer is the file itself.
func fileContent(s *server, op huma.Operation) {
	binary := map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
	op.Responses["200"] = &huma.Response{Description: "The content, of the type that the uploader says", Content: binary}
	op.Responses["206"] = &huma.Response{Description: "The part that was asked for", Content: binary}
	op.Responses["409"] = &huma.Response{Description: "The file is not complete"}
	op.Responses["416"] = &huma.Response{
		Description: "The content has no such part",
		Headers:     map[string]*huma.Param{"Content-Range": {Schema: &huma.Schema{Type: huma.TypeString}, Description: "How long it is, as bytes */1048576; left out if the header cannot be read"}},
	}
	op.Responses["304"] = &huma.Response{Description: "You have it already"}
	huma.Register(s.huma, op, func(ctx context.Context, in *contentInput) (*huma.StreamResponse, error) {
		c, err := s.fileContentOf(ctx, in.File)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return &huma.StreamResponse{Body: func(h huma.Context) {
			g := humagin.Unwrap(h)
			header := g.Writer.Header()
			before := header.Clone()
			header.Set("ETag", `"`+c.Hash+`"`)
			header.Set("Content-Type", mediaType(c.MediaType))
			// It is somebody's file: no browser may take it for a page of ours.
			header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": cmp.Or(c.Name, in.File)}))
			request := g.Request
			if asksHead(ctx) { // for which ranges mean nothing, and no content is read
				request = request.Clone(ctx)
				request.Method = http.MethodHead
				request.Header.Del("Range")
			}
			w := &ranged{ResponseWriter: g.Writer}
			http.ServeContent(w, request, "", time.Time{}, c)
			if !w.refused {
				return
			}
			size := header.Get("Content-Range")
			clear(header)
			maps.Copy(header, before)
			if size != "" {
				header.Set("Content-Range", size)
			}
			s.fail(g, errRange)
		}}, nil
	})
}

// ranged keeps net/http from answering a range that there is not: it does so in
// plain text.
type ranged struct {
	http.ResponseWriter
	refused bool
}

func (r *ranged) WriteHeader(status int) {
	if r.refused = status == http.StatusRequestedRangeNotSatisfiable; !r.refused {
		r.ResponseWriter.WriteHeader(status)
	}
}

func (r *ranged) Write(b []byte) (int, error) {
	if r.refused {
		return len(b), nil
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (r *ranged) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (s *server) fileContentOf(ctx context.Context, file string) (*FileContent, error) {
	if !callOf(ctx).principal.May(domain.ContentRead) {
		return nil, errForbidden.With("permission %s is missing", domain.ContentRead)
	}
	stream, err := fileStream(ctx, file)
	if err != nil {
		return nil, err
	}
	return s.Uploads.Open(ctx, stream)
}

// mediaType is what an uploader says, if it has the form of one.
func mediaType(said string) string {
	if media, _, err := mime.ParseMediaType(said); err != nil || !strings.Contains(media, "/") {
		return "application/octet-stream"
	}
	return said
}

type eraseFileInput struct {
	CommandHeaders
	FilePath
	Body *v1.Erase
}

// eraseFile orders that a file is erased. To ask again is the same order.
func (s *server) eraseFile(ctx context.Context, in *eraseFileInput) (*body[v1.Receipt], error) {
	stream, err := fileStream(ctx, in.File)
	if err != nil {
		return nil, err
	}
	keys, err := s.Uploads.Keys(ctx, stream)
	return s.erase(ctx, in.CommandHeaders, in.Body, err, commands.OrderErasure{
		Order:   commands.ErasureOrder(stream.Tenant(), commands.EraseFile, stream.Entity()),
		Subject: commands.EraseFile, ID: stream.Entity(), Keys: keys,
	})
}

// referred finds the files that inputs refer to, which must be complete and which
// the caller must be allowed to read.
func (s *server) referred(ctx context.Context, inputs map[string]json.RawMessage) ([]domain.StreamID, error) {
	var files []domain.StreamID
	c := callOf(ctx)
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		id, ok := domain.FileReference(inputs[name])
		if !ok {
			continue
		}
		field := "inputs." + name
		if !c.principal.May(domain.FileRead) || !c.principal.May(domain.ContentRead) {
			return nil, errForbidden.With("%s refers to a file: permissions %s and %s are needed", field, domain.FileRead, domain.ContentRead)
		}
		stream, err := fileStream(ctx, id)
		if err != nil {
			return nil, domain.InvalidField(field, "refers to no file", "use the id of a file that was uploaded")
		}
		state, err := s.Uploads.State(ctx, stream)
		switch {
		case domain.KindOf(err) == domain.NotFound, err == nil && !state.Ready:
			return nil, domain.InvalidField(field, fmt.Sprintf("refers to file %s, which is not there or not complete", id), "upload it first")
		case err != nil:
			return nil, err
		}
		files = append(files, stream)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// useFiles records that the run of a start uses files. It comes before the start,
// so that no file of a run ever counts as unused, and is the same use however
// often the start is repeated. What the inputs alone would have refused uses none.
func (s *server) useFiles(ctx context.Context, start domain.CommandID, c commands.StartRun, files []domain.StreamID) error {
	if len(files) == 0 {
		return nil
	}
	if _, err := domain.BindInputs(c.Definition.Parameters, c.Inputs); err != nil {
		return err
	}
	call := callOf(ctx)
	for _, file := range files {
		_, err := s.Dispatcher.Do(ctx, commands.Request{
			ID: domain.DerivedCommandID("use_file", domain.EventID(string(start)+"/"+string(file))), Principal: call.principal, TraceParent: call.trace,
			Command: commands.UseFile{File: file, By: c.Run.Entity()},
		})
		if kind := domain.KindOf(err); kind == domain.NotFound || kind == domain.Conflict { // since it was looked at
			return domain.InvalidField("inputs", fmt.Sprintf("refer to file %s, which is not there any more", file.Entity()), "upload it again")
		} else if err != nil {
			return err
		}
	}
	return nil
}
