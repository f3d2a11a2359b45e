// nhooyr.io/websocket.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"nhooyr.io/websocket"
)

type fields map[string]interface{}

var sockets sync.Map

func say(what fields) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func fragments(ctx context.Context, socket *websocket.Conn) {
	writer, err := socket.Writer(ctx, websocket.MessageText)
	if err != nil {
		return
	}
	for _, part := range []string{"one, ", "two, ", "three"} {
		writer.Write([]byte(part))
	}
	writer.Close()
}

func pingPong(ctx context.Context, socket *websocket.Conn) {
	if socket.Ping(ctx) == nil { // it waits for the pong, which the reader gets
		socket.Write(ctx, websocket.MessageText, []byte("pong"))
	}
}

func talk(answer http.ResponseWriter, request *http.Request) {
	ctx := request.Context()
	socket, err := websocket.Accept(answer, request, &websocket.AcceptOptions{
		Subprotocols:    []string{"interop"},
		CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		return
	}
	sockets.Store(socket, nil)
	defer sockets.Delete(socket)
	socket.SetReadLimit(2 << 20)
	say(fields{"open": socket.Subprotocol()})
	for {
		kind, data, err := socket.Read(ctx)
		if err != nil {
			closed := websocket.CloseError{Code: websocket.StatusAbnormalClosure}
			errors.As(err, &closed)
			say(fields{"closed": closed.Code, "reason": closed.Reason})
			return
		}
		switch string(data) {
		case "/fragments":
			fragments(ctx, socket)
		case "/ping":
			go pingPong(ctx, socket)
		case "/close":
			socket.Close(4001, "over")
		default:
			socket.Write(ctx, kind, data)
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
	sockets.Range(func(socket, _ interface{}) bool {
		socket.(*websocket.Conn).Close(websocket.StatusGoingAway, "")
		return true
	})
}
