// gorilla/websocket.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/gorilla/websocket"
)

type fields map[string]interface{}

func say(what fields) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func talk(dialer websocket.Dialer, url string) error {
	socket, _, err := dialer.Dial(url, nil)
	if err != nil {
		return err
	}
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
			return nil
		}
		switch string(data) {
		case "/ping":
			err = socket.WriteMessage(websocket.PingMessage, nil)
		case "/close":
			payload := websocket.FormatCloseMessage(4001, "over")
			err = socket.WriteMessage(websocket.CloseMessage, payload)
		default:
			err = socket.WriteMessage(kind, data)
		}
		if err != nil {
			return err
		}
	}
}

func main() {
	pem, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(pem)
	dialer := websocket.Dialer{
		Subprotocols:      []string{"other", "interop"},
		EnableCompression: true,
		TLSClientConfig:   &tls.Config{RootCAs: trust},
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := talk(dialer, lines.Text()); err != nil {
			panic(err)
		}
	}
}
