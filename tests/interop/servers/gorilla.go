// gorilla/websocket.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

type fields map[string]interface{}

var (
	upgrader = websocket.Upgrader{Subprotocols: []string{"interop"}, EnableCompression: true}
	sockets  sync.Map
	open     sync.WaitGroup
)

func say(what fields) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func talk(answer http.ResponseWriter, request *http.Request) {
	socket, err := upgrader.Upgrade(answer, request, nil)
	if err != nil {
		return
	}
	open.Add(1)
	sockets.Store(socket, nil)
	defer open.Done()
	defer sockets.Delete(socket)
	defer socket.Close()
	say(fields{"open": socket.Subprotocol()})
	socket.SetPongHandler(func(string) error {
		return socket.WriteMessage(websocket.TextMessage, []byte("pong"))
	})
	for {
		kind, data, err := socket.ReadMessage()
		if err != nil {
			closed := &websocket.CloseError{Code: websocket.CloseAbnormalClosure}
			errors.As(err, &closed)
			say(fields{"closed": closed.Code, "reason": closed.Text})
			return
		}
		switch string(data) {
		case "/ping":
			socket.WriteMessage(websocket.PingMessage, nil)
		case "/close":
			payload := websocket.FormatCloseMessage(4001, "over")
			socket.WriteMessage(websocket.CloseMessage, payload)
		default:
			socket.WriteMessage(kind, data)
		}
	}
}

func main() {
	server := &http.Server{Addr: "127.0.0.1:" + os.Args[1], Handler: http.HandlerFunc(talk)}
	go func() {
		if len(os.Args) > 2 {
			server.ListenAndServeTLS(os.Args[2], os.Args[3])
		} else {
			server.ListenAndServe()
		}
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	away := websocket.FormatCloseMessage(websocket.CloseGoingAway, "")
	sockets.Range(func(socket, _ interface{}) bool {
		deadline := time.Now().Add(time.Second)
		socket.(*websocket.Conn).WriteControl(websocket.CloseMessage, away, deadline)
		return true
	})
	open.Wait()
}
