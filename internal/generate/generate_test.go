package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

const root = "../.."

func TestEveryEventFitsItsSchema(t *testing.T) {
	t.Parallel()
	src, err := readSource(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range catalogue() {
		t.Run(typ.Name, func(t *testing.T) {
			t.Parallel()
			schema := compile(t, typ, src)
			for _, filled := range []bool{false, true} {
				v := reflect.New(reflect.TypeOf(typ.Zero)).Elem()
				if filled {
					fill(v)
				}
				_, data, err := events.Encode(v.Interface().(events.Event))
				if err != nil {
					t.Fatal(err)
				}
				doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				if err := schema.Validate(doc); err != nil {
					t.Errorf("%s: %v", data, err)
				}
			}
		})
	}
}

func TestASchemaRefusesAnotherForm(t *testing.T) {
	t.Parallel()
	src, err := readSource(root)
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := events.Lookup("reaction.deployed")
	schema := compile(t, typ, src)
	for data, fits := range map[string]bool{
		`{"name":"a","from":"7"}`:              true,
		`{"name":"a","from":"7","later":true}`: true, // readers ignore what they do not know
		`{"name":"a","from":7}`:                false,
		`{"from":"7"}`:                         false,
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); (err == nil) != fits {
			t.Errorf("%s fits: %v, want %v (%v)", data, err == nil, fits, err)
		}
	}
}

func compile(t *testing.T, typ events.Type, src source) *jsonschema.Schema {
	t.Helper()
	raw, err := eventSchema(typ, src)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	const url = "http://localhost/event.json"
	if err := c.AddResource(url, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(url)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// fill sets everything below v to something that is not its zero value.
func fill(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		return
	case *json.RawMessage:
		*x = json.RawMessage(`{"a":[1,"b"]}`)
		return
	case *domain.Duration:
		*x = domain.Duration(90*time.Second + 1500*time.Microsecond)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Interface:
		v.Set(reflect.ValueOf("text"))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		element := reflect.New(v.Type().Elem()).Elem()
		fill(element)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), element)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

func TestTwoRunsWriteTheSameBytes(t *testing.T) {
	t.Parallel()
	a, err := outputs(root)
	if err != nil {
		t.Fatal(err)
	}
	b, err := outputs(root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
}

func TestThePageOfCommandsListsEveryCommand(t *testing.T) {
	t.Parallel()
	var listed, declared []string
	for _, c := range everyCommand {
		listed = append(listed, reflect.TypeOf(c).Name())
	}
	paths, err := filepath.Glob(filepath.Join(root, "commands", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "CommandName" {
				declared = append(declared, f.Recv.List[0].Type.(*ast.Ident).Name)
			}
		}
	}
	slices.Sort(listed)
	slices.Sort(declared)
	if diff := cmp.Diff(declared, listed); diff != "" {
		t.Errorf("everyCommand is not what package commands declares (-declared +listed):\n%s", diff)
	}
}

func TestReleasedSchemasAreAsTheyWereReleased(t *testing.T) {
	t.Parallel()
	frozen, err := readReleased(root)
	if err != nil {
		t.Fatal(err)
	}
	files, err := outputs(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := frozen.check(root, files); err != nil {
		t.Error(err)
	}
}

func TestAReleasedSchemaCanNeitherChangeNorGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, schemaFolder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string][]byte{schemaFolder + "/a.v1.json": []byte("a"), schemaFolder + "/b.v1.json": []byte("b")}
	write("a.v1.json", "a")
	write("b.v1.json", "b")
	if err := (released{}).add(dir, files); err != nil {
		t.Fatal(err)
	}
	frozen, err := readReleased(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := frozen.check(dir, files); err != nil {
		t.Fatalf("nothing changed, but: %v", err)
	}
	changed := maps.Clone(files)
	changed[schemaFolder+"/a.v1.json"] = []byte("A")
	if err := frozen.check(dir, changed); err == nil {
		t.Error("a build may write another schema under a released name")
	}
	write("b.v1.json", "B")
	if err := frozen.check(dir, files); err == nil {
		t.Error("a released file was edited and nobody noticed")
	}
	delete(files, schemaFolder+"/b.v1.json") // its event has moved on to v2
	if err := os.Remove(filepath.Join(dir, schemaFolder, "b.v1.json")); err != nil {
		t.Fatal(err)
	}
	if err := frozen.check(dir, files); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a released schema was removed, but: %v", err)
	}
}
