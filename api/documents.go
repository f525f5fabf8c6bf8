package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/hishamos/hishamos/domain"
)

//go:embed docs asyncapi.yaml schema/events problems.json
var documents embed.FS

// docsPolicy lets the page at /api/docs run its own scripts and nothing else:
// no inline script, no other origin.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// The content types of what is served from the build.
const (
	typeHTML    = "text/html; charset=utf-8"
	typeOpenAPI = "application/openapi+json"
	typeMetrics = "text/plain"
	typeSchema  = "application/schema+json"
)

type nameInput struct {
	Conditional
	Name string `path:"name" maxLength:"128" doc:"Name of the file, or code of the problem" example:"run.started.v1.json"`
}

// document adapts a method that gives a document of the build by its name.
func document[I any](contentType string, find func(*server, *I) ([]byte, string, error)) func(*server, huma.Operation) {
	return func(s *server, op huma.Operation) {
		op.Responses["200"] = documentOf(contentType)
		op.Responses["304"] = &huma.Response{Description: "You have it already"}
		huma.Register(s.huma, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
			content, media, err := find(s, in)
			if err != nil {
				return nil, s.problemOf(ctx, err)
			}
			return &huma.StreamResponse{Body: func(h huma.Context) { send(humagin.Unwrap(h), media, content) }}, nil
		})
	}
}

func documentOf(contentType string) *huma.Response {
	media, _, _ := strings.Cut(contentType, ";")
	schema := &huma.Schema{Type: huma.TypeString}
	switch {
	case strings.HasSuffix(media, "json"):
		schema = &huma.Schema{Type: huma.TypeObject}
	case media == yamlType:
		schema = &huma.Schema{}
	}
	return &huma.Response{Description: "The document", Content: map[string]*huma.MediaType{media: {Schema: schema}}}
}

// send answers with a document that is the same for everybody until the next
// build. Content that begins like gzip is sent as it is to those who take it.
func send(g *gin.Context, media string, content []byte) {
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	h := g.Writer.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "max-age=300")
	if matches(g.GetHeader("If-None-Match"), tag) {
		g.Status(http.StatusNotModified)
		return
	}
	if bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(g.GetHeader("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
		} else {
			content = unpacked(content)
		}
	}
	g.Data(http.StatusOK, media, content)
}

// unpacked undoes the compression of a file of the build.
func unpacked(content []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err == nil {
		content, err = io.ReadAll(r)
	}
	if err != nil { // a test reads every file
		panic(err)
	}
	return content
}

// openapi is the description as the running server gives it. It is made once:
// the routes do not change.
func (s *server) openapi(*Conditional) ([]byte, string, error) {
	return s.description, typeOpenAPI, nil
}

func describe(api huma.API) []byte {
	spec, err := json.Marshal(api.OpenAPI())
	if err != nil { // the types of huma: a test reads it
		panic(err)
	}
	return spec
}

func (s *server) docsPage(*Conditional) ([]byte, string, error) {
	return s.file("docs/index.html", typeHTML)
}

// docsFile serves what the page at /api/docs loads.
func (s *server) docsFile(in *nameInput) ([]byte, string, error) {
	media, ok := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".txt": "text/plain; charset=utf-8"}[path.Ext(in.Name)]
	if !ok {
		return nil, "", errNotFound
	}
	if content, media, err := s.file("docs/"+in.Name+".gz", media); err == nil {
		return content, media, nil
	}
	return s.file("docs/"+in.Name, media)
}

// asyncapi describes the topics. In the tree it stands beside the schemas, here
// they are where the dataschema of every event says.
func (s *server) asyncapi(*Conditional) ([]byte, string, error) {
	content, media, err := s.file("asyncapi.yaml", yamlType)
	return bytes.ReplaceAll(content, []byte("./schema/events/"), []byte("/schema/events/")), media, err
}

func (s *server) eventSchema(in *nameInput) ([]byte, string, error) {
	return s.file("schema/events/"+in.Name, typeSchema)
}

func (s *server) file(name, media string) ([]byte, string, error) {
	if !fs.ValidPath(name) {
		return nil, "", errNotFound
	}
	content, err := documents.ReadFile(name)
	if err != nil {
		return nil, "", errNotFound
	}
	return content, media, nil
}

// Explanation is what the page of a problem says.
type Explanation struct {
	Code    string `json:"code"`
	Status  int    `json:"status"`
	Meaning string `json:"meaning"`
	Fix     string `json:"fix,omitempty"`
}

// Explanations returns every problem with a code, in the order of the codes.
func Explanations() []Explanation {
	content, err := documents.ReadFile("problems.json")
	var all []Explanation
	if err == nil {
		err = json.Unmarshal(content, &all)
	}
	if err != nil { // a file of the build: a test reads it
		panic(err)
	}
	return all
}

var problemPage = template.Must(template.New("problem").Parse(`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Problems of the HishamOS API</title></head>
<body>
<h1>{{if eq (len .) 1}}{{(index . 0).Code}}{{else}}Problems{{end}}</h1>
<table>
<tr><th scope="col">Code</th><th scope="col">Status</th><th scope="col">Meaning</th><th scope="col">What to do</th></tr>
{{range .}}<tr><td><a href="/problems/{{.Code}}">{{.Code}}</a></td><td>{{.Status}}</td><td>{{.Meaning}}</td><td>{{.Fix}}</td></tr>
{{end}}</table>
<p>{{if eq (len .) 1}}<a href="/problems">All problems</a> · {{end}}<a href="/api/docs">The API</a></p>
</body>
</html>
`))

// problemsPage explains one problem, or all of them: the type of every problem
// leads here.
func (s *server) problemsPage(in *Conditional) ([]byte, string, error) {
	return explain(Explanations())
}

func (s *server) problemOne(in *nameInput) ([]byte, string, error) {
	for _, e := range Explanations() {
		if e.Code == in.Name {
			return explain([]Explanation{e})
		}
	}
	return nil, "", errNotFound
}

func explain(all []Explanation) ([]byte, string, error) {
	var b bytes.Buffer
	if err := problemPage.Execute(&b, all); err != nil {
		return nil, "", fmt.Errorf("write the page of problems: %w", err)
	}
	return b.Bytes(), typeHTML, nil
}

// StatusOf is the HTTP status that an error is answered with.
func StatusOf(e *domain.Error) int { return newProblem(e).Status }
