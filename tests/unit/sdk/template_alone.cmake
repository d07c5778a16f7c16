# Installs the SDK into an empty folder, copies the template from there, and builds and tests it with pkg-config alone.
file(REMOVE_RECURSE ${WORK})
set(installed ${WORK}/installed)
function(step)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

step(${CMAKE_COMMAND} --install ${BUILD} --component sdk --prefix ${installed})
file(COPY ${installed}/share/hatchd/template DESTINATION ${WORK})
set(ENV{PKG_CONFIG_PATH} ${installed}/share/pkgconfig)
step(${CMAKE_COMMAND} -S ${WORK}/template -B ${WORK}/build -DCMAKE_CXX_COMPILER=${COMPILER}
  "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror")
step(${CMAKE_COMMAND} --build ${WORK}/build)
step(${CMAKE_CTEST_COMMAND} --test-dir ${WORK}/build --output-on-failure)
if(NOT EXISTS ${WORK}/build/mine.so OR NOT EXISTS ${WORK}/template/LICENSE)
  message(FATAL_ERROR "the plugin or its licence is missing")
endif()
