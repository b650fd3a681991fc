// Command health says what kstatus and an Argo CD health script make of Kubernetes objects.
//
// It reads {"script": Lua, "objects": [...]} from standard input and writes a list of
// {"kstatus", "status", "message"}, one for each object. The script runs as Argo CD runs it: in
// gopher-lua, with the object as the global obj, and the table that it returns is the answer.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type question struct {
	Script  string            `json:"script"`
	Objects []json.RawMessage `json:"objects"`
}

type answer struct {
	Kstatus string `json:"kstatus"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

// table turns decoded JSON into Lua values.
func table(state *lua.LState, value any) lua.LValue {
	switch typed := value.(type) {
	case map[string]any:
		found := state.NewTable()
		for key, item := range typed {
			found.RawSetString(key, table(state, item))
		}
		return found
	case []any:
		found := state.NewTable()
		for _, item := range typed {
			found.Append(table(state, item))
		}
		return found
	case string:
		return lua.LString(typed)
	case int64:
		return lua.LNumber(typed)
	case float64:
		return lua.LNumber(typed)
	case bool:
		return lua.LBool(typed)
	}
	return lua.LNil
}

func health(script string, object map[string]any) (string, string, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", table(state, object))
	if err := state.DoString(script); err != nil {
		return "", "", err
	}
	found, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", fmt.Errorf("the script returned %s", state.Get(-1).Type())
	}
	return found.RawGetString("status").String(), found.RawGetString("message").String(), nil
}

func run() error {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	answers := []answer{}
	for _, text := range asked.Objects {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			return err
		}
		computed, err := status.Compute(object)
		if err != nil {
			return err
		}
		state, message, err := health(asked.Script, object.Object)
		if err != nil {
			return err
		}
		answers = append(answers, answer{computed.Status.String(), state, message})
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
