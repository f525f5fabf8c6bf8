package api_test
import ("testing";"os";"github.com/hishamos/hishamos/api")
func TestDump(t *testing.T){ b,_:=api.OpenAPI(); os.WriteFile("/tmp/openapi.json",b,0o600)}
