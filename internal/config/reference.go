package config

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"
)

const referenceHead = `# Settings

Every setting is an environment variable. A variable that is set to nothing counts as not set; an unknown variable that begins with ` + "`HISHAMOS_`" + ` is an error. Sizes are written like ` + "`256MB`" + ` (powers of ten) or ` + "`256MiB`" + ` (powers of two), durations like ` + "`20s`" + `. A secret is never printed or logged.

The proxy variables ` + "`HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`" + ` are honoured.

This page is written from ` + "`internal/config/config.go`" + ` by ` + "`go generate ./internal/config`" + `.

| variable | value | default | meaning |
|---|---|---|---|
`

// Reference is docs/reference/settings.md: a table with one row per setting, in
// the order of Config.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		shown := f.Tag.Get("shown")
		if d, ok := f.Tag.Lookup("envDefault"); ok {
			shown = "`" + d + "`"
		}
		value := typeName(f.Type)
		least, most := f.Tag.Get("min"), f.Tag.Get("max")
		switch {
		case least != "" && most != "":
			value += ", " + least + " to " + most
		case least != "":
			value += ", at least " + least
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Tag.Get("env"), value, shown, f.Tag.Get("doc"))
	}
	return b.String()
}

// typeName is the word for the kind of value a setting has.
func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Secret]():
		return "secret"
	case reflect.TypeFor[Bytes]():
		return "size"
	case reflect.TypeFor[Retain]():
		return "size or `all`"
	case reflect.TypeFor[Switch]():
		return "`on` or `off`"
	case reflect.TypeFor[Ratio]():
		return "number from 0 to 1"
	case reflect.TypeFor[Format]():
		return "`text` or `json`"
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[slog.Level]():
		return "level"
	case reflect.TypeFor[int](), reflect.TypeFor[int64]():
		return "number"
	case reflect.TypeFor[[]string]():
		return "list"
	}
	return "text"
}
