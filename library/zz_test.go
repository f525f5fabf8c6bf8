package library_test
import ("testing";"strings";"fmt";"time";"github.com/hishamos/hishamos/library")
func TestBig(t *testing.T){
 l,_:=library.Builtin()
 var b strings.Builder
 b.WriteString("schema: workflow/v1\nkind: workflow\nid: big\nversion: 1\ntitle: x\nsteps:\n")
 for i:=0;i<5000;i++ { fmt.Fprintf(&b,"  - id: s%d\n    kind: noop\n    needs: [%s]\n    with: {x: \"some text here\", y: %d}\n",i, map[bool]string{true:"",false:fmt.Sprintf("s%d",max(0,i-1))}[i==0],i) }
 for name,s:=range map[string]string{"steps":b.String(),"scalar":"title: |\n"+strings.Repeat("  some line of text\n",50000),"dq":"title: \""+strings.Repeat("a\\n",300000)+"\"","plain":"title: "+strings.Repeat("word ",200000),"colons":strings.Repeat("a: b\n",1)+strings.Repeat("? x\n",100000), "blocklist":"a:\n"+strings.Repeat("- x\n",250000),"listmaps":"a:\n"+strings.Repeat("- b: 1\n",140000),"flowmap":"a: {"+func()string{var k strings.Builder;for i:=0;i<80000;i++{fmt.Fprintf(&k,"k%d: 1,",i)};return k.String()}()+"}","inline":"a: "+strings.Repeat("b: ",300000),"quotes":"a: "+strings.Repeat("'' ",300000),"anchors":"a:\n"+strings.Repeat("- &x\n",150000),"nl":"a: >\n"+strings.Repeat("\n",900000),"comments":strings.Repeat("# x\n",250000), "flowlist":"a: ["+strings.Repeat("1,",500000)+"]", "keys":func()string{var k strings.Builder;for i:=0;i<80000;i++{fmt.Fprintf(&k,"k%d: 1\n",i)};return k.String()}(), "multiplain":"title: a\n"+strings.Repeat("  word\n",140000)} {
  st:=time.Now(); _,err:=l.ParseWorkflow("x",[]byte(s)); e:=fmt.Sprint(err); t.Logf("%s %d bytes %v %.80s",name,len(s),time.Since(st),e)
 }
}
