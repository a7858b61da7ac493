"""Training losses; `margin` holds the softmax family over class weights."""
