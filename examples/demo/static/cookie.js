document.getElementById("javascript-sees").textContent = document.cookie || "(nothing)";
